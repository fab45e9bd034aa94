"""What was compiled from other sources is never run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import alpaca_strategy

PACKAGE = Path(alpaca_strategy.__file__).parent
#: A price that has risen for fifteen minutes passes the filter; then what is kept, and where.
SCRIPT = """
import numpy as np
from alpaca_strategy import compilation
from alpaca_strategy.strategy.rules import Rules
from alpaca_strategy.strategy.technical import weakness
closes = np.linspace(100.0, 101.0, 15)[:, None]
print(weakness(closes, 0, Rules()), compilation._KEPT_IN)
"""


def ask(root: Path, **environment: str) -> tuple[int, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, check=True, capture_output=True, text=True,
        env=plain | {"HOME": str(root / "home"), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
    )  # fmt: skip
    said, _, place = done.stdout.strip().partition(" ")
    return int(said), place


def a_copy(root: Path) -> Path:
    (root / "home").mkdir()
    for part in ("__init__.py", "compilation.py", "strategy", "backtest"):
        source, target = PACKAGE / part, root / "alpaca_strategy" / part
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return root / "alpaca_strategy"


def change(package: Path) -> None:
    """Turn the filter's first condition round, in a file that `weakness` is not the whole of."""
    file = package / "strategy" / "technical.py"
    text = file.read_text()
    assert "if rules.trend and not _rises(price):" in text
    file.write_text(text.replace("not _rises(price):", "_rises(price):"))


def test_a_change_of_the_sources_changes_what_is_run(tmp_path: Path) -> None:
    package = a_copy(tmp_path)
    before, kept = ask(tmp_path)
    assert before == 0
    assert kept.startswith(str(package / "__pycache__"))
    change(package)
    after, elsewhere = ask(tmp_path)
    assert after == 12  # WEAK_TREND
    assert elsewhere != kept


def test_where_the_package_cannot_be_written_the_user_s_own_folder_is_taken(tmp_path: Path) -> None:
    package = a_copy(tmp_path)
    (package / "__pycache__").write_text("in the way, also of the superuser")
    before, kept = ask(tmp_path)
    assert before == 0
    assert kept.startswith(str(tmp_path / "home" / ".cache" / "alpaca-strategy"))
    change(package)
    assert ask(tmp_path)[0] == 12


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    package = a_copy(tmp_path)
    (package / "__pycache__").write_text("in the way")
    (tmp_path / "home" / ".cache").write_text("in the way")
    assert ask(tmp_path) == (0, "None")


def test_a_folder_that_is_asked_for_is_taken_and_shared_with_other_sources(tmp_path: Path) -> None:
    a_copy(tmp_path)
    asked = tmp_path / "asked"
    _, kept = ask(tmp_path, NUMBA_CACHE_DIR=str(asked))
    assert Path(kept).parent == asked
    _, inherited = ask(tmp_path, NUMBA_CACHE_DIR=str(asked / "compiled-000000000000"))
    assert inherited == kept
