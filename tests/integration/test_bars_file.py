"""A file of minute bars is tried from the command line, without lake or database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from alpaca_strategy.__main__ import app
from alpaca_strategy.errors import SettingsError, TooFewSessionsError, UserError
from alpaca_strategy.jobs.bars_file import dataset_of, open_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from tests.worlds import World

COLUMNS = ("open", "high", "low", "close", "volume", "buy_volume", "sell_volume")
WORLD = World(symbols=4, ic=0.3, quiet=0.2, seed=4)


def write(path: Path, sessions: int, columns: tuple[str, ...] = COLUMNS) -> Path:
    """Write a world's observed bars, newest first: the order in a file does not matter."""
    parts = []
    for bars, _ in WORLD.sessions(sessions):
        opens_at = exchange_calendar().session(bars.day).opens_at
        minute, seat = np.nonzero(bars.observed)
        numbers = {c: bars.values[minute, seat, BAR_COLUMNS.index(c)] for c in columns}
        parts.append(
            pl.DataFrame(
                {
                    "symbol": [WORLD.names[i] for i in seat],
                    "start_at": [opens_at + timedelta(minutes=int(m)) for m in minute],
                    **numbers,
                }
            )
        )
    pl.concat(parts).reverse().write_parquet(path)
    return path


def test_a_file_gives_the_features_that_its_columns_allow(tmp_path: Path) -> None:
    bars = open_bars(write(tmp_path / "bars.parquet", 3))
    assert bars.symbols == WORLD.names
    assert len(bars.sessions) == 3
    assert "trade_count" in bars.missing
    dataset, whole = dataset_of(bars, horizon=10), WORLD.dataset(3)
    np.testing.assert_array_equal(dataset.usable, whole.usable)
    np.testing.assert_array_equal(dataset.returns, whole.returns)
    assert np.isfinite(dataset.features[dataset.usable]).all()


def test_it_is_trained_and_judged_beside_the_baselines(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_STRATEGY_TRAINING__EPOCHS", "2")
    path = str(write(tmp_path / "bars.parquet", 35))
    done = CliRunner().invoke(app, ["train", "--bars", path, "--preset", "demo", "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert "35 sessions of 4 symbols, preset demo" in done.output
    assert "lightgbm" in done.output
    assert "rank IC" in done.output
    assert "features of them say nothing" in done.output


def test_what_is_no_file_of_bars_is_refused(home: Path, tmp_path: Path) -> None:
    text = tmp_path / "words.parquet"
    text.write_text("no bars")
    for path, words in (
        (tmp_path / "nosuch.parquet", "cannot be read as Parquet"),
        (text, "cannot be read as Parquet"),
        (write(tmp_path / "thin.parquet", 1, ("open", "high", "low")), "lacks close, volume"),
    ):
        with pytest.raises(UserError, match=words):
            open_bars(path)
    few = str(write(tmp_path / "few.parquet", 5))
    done = CliRunner().invoke(app, ["train", "--bars", few, "--preset", "demo"])
    assert isinstance(done.exception, TooFewSessionsError)
    done = CliRunner().invoke(app, ["train", "--bars", few, "--preset", "huge"])
    assert isinstance(done.exception, SettingsError | TooFewSessionsError)
