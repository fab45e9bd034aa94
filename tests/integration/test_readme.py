"""A newcomer pastes the README's commands, and they work."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_runs import StackRun, new_home
from typer.testing import CliRunner

from alpaca_strategy.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


@pytest.fixture(scope="module")
def stack() -> Iterator[StackRun]:
    run = StackRun(new_home(), ALPACA_STRATEGY_DATA__SYMBOLS="TSLA,F,NVDA")
    (run.home / ".venv").symlink_to(sys.prefix)  # so that commands are pasted as they stand
    run.up_and_ready()
    yield run
    run.destroy()


def paste(stack: StackRun, command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=stack.home, env=stack.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.stack
@pytest.mark.timeout(900)
def test_what_the_readme_says_to_paste_works(stack: StackRun) -> None:
    paste(stack, [".venv/bin/alpaca-strategy", "backfill", "--sessions", "2"])
    pasted = {}
    for block in blocks("bash"):
        if not block.startswith("make "):  # the stack's own tests and CI run those
            for line in block.splitlines():
                # A trader needs a model, and training one takes longer than all this.
                help_only = ["--help"] if "alpaca-strategy trade" in line else []
                pasted[line] = paste(stack, [*line.split(), *help_only])
    assert "published" in pasted[".venv/bin/alpaca-strategy sessions"]
    (export,) = (said for line, said in pasted.items() if " export " in line)
    assert re.match(r"\d{3} bars of TSLA written", export)
    (snippet,) = blocks("python")
    assert "TSLA" in paste(stack, [".venv/bin/python", "-c", snippet])


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`alpaca-strategy ([a-z]+(?: show)?)", README)) | {"down", "status"}
    assert {"fetch", "backfill", "export", "config show", "up"} <= named
    for name in named:
        done = CliRunner().invoke(app, [*name.split(), "--help"])
        assert done.exit_code == 0, name


def test_every_verb_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"`?make ([a-z-]+)`?", README))
    assert {"run", "test"} <= verbs
    for verb in verbs:
        assert re.search(rf"^{verb}:.* ##", makefile, re.MULTILINE), verb
