"""A Saturday without Airflow: sessions, training, judgement, decision, promotion, and back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from alpaca_strategy.__main__ import app
from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import VersionStatus
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    BusyError,
    DamagedFileError,
    NotPublishedError,
    SupersededError,
    TooFewSessionsError,
    UserError,
)
from alpaca_strategy.jobs import judging, models, retrain
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS
from alpaca_strategy.storage.database import connect, migrate
from tests.stored_sessions import publish
from tests.worlds import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SYMBOLS = ("TSLA", "F", "NVDA", "MSFT", "OXY", "LLY")  # in the universe's order
SESSIONS = 37
LAST = date(2024, 2, 23)  # the 37th session of the worlds


def bars_of(values: np.ndarray, observed: np.ndarray, day: date) -> pa.Table:
    """Return arrays as a table of bars, as the nightly jobs write it."""
    minutes = len(values)
    opens_at = exchange_calendar().session(day).opens_at
    starts = [opens_at + timedelta(minutes=m) for m in range(minutes)]
    columns: dict[str, Any] = {
        "symbol": np.repeat(np.array(SYMBOLS), minutes),
        "minute": np.tile(np.arange(minutes, dtype=np.int16), len(SYMBOLS)),
        "start_at": pa.array(starts * len(SYMBOLS), pa.timestamp("us", tz="UTC")),
        "observed": observed.T.reshape(-1),
    }
    for i, name in enumerate(BAR_COLUMNS):
        column = values[:, :, i].T.reshape(-1)
        columns[name] = np.nan_to_num(column).astype(np.int64) if name in COUNT_COLUMNS else column
    return pa.table(columns).select(BAR_SCHEMA.names).cast(BAR_SCHEMA)


@pytest.fixture
def filled(home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Publish a world's sessions into an empty lake; nothing is asked of any venue."""
    environment = {
        "ALPACA_STRATEGY_VENUE": "simulator",
        "ALPACA_STRATEGY_DATABASE_URL": database_url,
        "ALPACA_STRATEGY_DATA__SYMBOLS": ",".join(SYMBOLS),
        "ALPACA_STRATEGY_TRAINING__EPOCHS": "1",
        "ALPACA_STRATEGY_LOGGING__LEVEL": "error",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = connect(database_url)
    migrate(engine)
    engine.dispose()
    load_settings.cache_clear()
    services.cache_clear()
    here = services()
    world = World(symbols=6, ic=0.3, seed=2)
    for bars, _ in world.sessions(SESSIONS):
        publish(
            here.lake, here.catalog, day=bars.day, symbols=SYMBOLS, tape=None,
            bars=bars_of(bars.values, bars.observed, bars.day),
            condition_table="alpaca", condition_fingerprint=here.conditions.sha256,
        )  # fmt: skip
    yield home
    services().catalog.engine.dispose()
    services.cache_clear()


def a_model(**options: Any) -> str:
    """Train, judge and register a model of all sessions."""
    chosen = retrain.window("2024-02-25")
    candidate = retrain.train(chosen["first"], chosen["last"], **options)
    return str(judging.evaluate_candidate(candidate)["model"])


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, AlpacaStrategyError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_first_model_serves_provisionally_and_the_same_again_is_the_same(filled: Path) -> None:
    home = services()
    chosen = retrain.window("2024-02-25")
    assert chosen == {"first": "2024-01-02", "last": str(LAST), "sessions": SESSIONS}
    model = a_model()
    version = home.registry.version(model)
    assert (version.venue, version.feed, version.preset) == (Venue.SIMULATOR, Feed.IEX, "demo")
    assert len(version.holdout) == 21
    assert version.holdout[-1] == LAST
    assert max(version.training) < min(version.validation) < min(version.holdout)
    assert [pin.session for pin in home.registry.data(model)] == [
        s.day for s in exchange_calendar().sessions(date(2024, 1, 2), LAST)
    ]
    names = {m.name for m in home.registry.metrics(model) if m.slice == "all"}
    assert {"ic", "rank_ic", "break_even_bps", "ridge.rank_ic", "lightgbm.ic"} <= names
    assert (filled / "results" / "last.ckpt").read_bytes() == home.objects.get(
        home.objects.name_of(version.artifact_uri)
    )
    assert list((filled / "results" / "tensorboard_logs" / model).glob("events.*"))
    assert f"/models/{model}/" in version.artifact_uri
    assert list((filled / "data" / "simulator" / "training").iterdir()) == []
    assert home.registry.champion(Venue.SIMULATOR, Feed.IEX) is None

    decided = retrain.decide_apart(model)
    assert (decided["verdict"], decided["next"]) == ("provisional", "promote")
    assert retrain.promote(decided) == {"model": model, "changed": True}
    # An attempt that died before it said so must still announce the champion.
    assert retrain.promote(decided) == {"model": model, "changed": True}
    champion = home.registry.champion(Venue.SIMULATOR, Feed.IEX)
    assert champion is not None
    assert (champion.version, champion.provisional) == (model, True)
    assert home.registry.decisions(model)[0].reason == champion.reason

    assert a_model() == model  # the same sessions, settings and seed: the same file
    assert models.reproduce(model)
    assert retrain.decide_apart(model)["next"] == "keep"


def test_a_challenger_is_judged_on_the_same_sessions_and_a_person_may_overrule(
    filled: Path,
) -> None:
    first = a_model()
    retrain.promote(retrain.decide_apart(first))
    second = a_model(seed=9)
    assert second != first
    decided = retrain.decide_apart(second)
    assert decided["champion"] == first
    assert decided["verdict"] in {"keep", "promote"}
    assert len(decided["evidence"]["sessions"]) == 21
    assert "on the same 21 held-out sessions" in decided["reason"]

    assert first in run("models")
    assert second in run("models")
    if decided["next"] == "keep":
        assert "in service" in run("promote", second, "--reason", "a trial")
    else:
        retrain.promote(decided)
    assert f"{first} is in service again" in run("rollback")
    with pytest.raises(SupersededError, match="judge it again"):
        retrain.promote({**decided, "next": "promote", "verdict": "promote"})
    again = retrain.decide_apart(second)  # what a person took back stays out
    assert (again["next"], again["verdict"]) == ("keep", None)
    assert "was taken out of service by a person" in again["reason"]
    assert "rank_ic" in run("models", "show", second)
    assert "stays in service" in run("pin")
    with pytest.raises(UserError, match="pinned"):
        run("promote", second)
    assert "may be replaced" in run("unpin")


def test_a_damaged_champion_is_marked_and_the_challenger_held_against_nothing(
    filled: Path,
) -> None:
    home = services()
    first = a_model()
    retrain.promote(retrain.decide_apart(first))
    uri = home.registry.version(first).artifact_uri
    name = home.objects.name_of(uri)
    home.objects.put(name, home.objects.get(name)[:-100])
    second = a_model(seed=9)
    decided = retrain.decide_apart(second)
    assert "cannot be scored" in decided["reason"]
    assert home.registry.version(first).status is VersionStatus.DAMAGED
    with pytest.raises(DamagedFileError, match="is not the one that was registered"):
        models.promote(first, "by hand")
    models.promote(second, "by hand")
    with pytest.raises(UserError, match="no earlier iex model"):
        run("rollback")


def test_gaps_and_too_few_sessions_are_refused_with_what_to_do(filled: Path) -> None:
    with pytest.raises(NotPublishedError, match="backfill --start 2024-02-26 --end 2024-02-28"):
        retrain.window("2024-02-28")
    with pytest.raises(TooFewSessionsError, match="34 are the least"):
        retrain.window("2024-02-16")
    with pytest.raises(UserError, match="'soon' is not a date"):
        retrain.window("soon")
    with pytest.raises(UserError, match="no model nosuch"):
        run("models", "show", "nosuch")


def test_two_retrainings_at_once_do_not_run(filled: Path) -> None:
    chosen = retrain.window("2024-02-25")
    with (
        services().registry.retraining_lock(Venue.SIMULATOR, Feed.IEX),
        pytest.raises(BusyError),
    ):
        retrain.train(chosen["first"], chosen["last"])


def test_an_error_in_a_process_apart_is_the_same_error_here(filled: Path) -> None:
    with pytest.raises(NotPublishedError):
        retrain.train_apart({"first": "2023-12-28", "last": "2024-01-05"}, None)


def test_data_that_a_model_was_made_from_that_are_gone_are_named(filled: Path) -> None:
    model = a_model()
    shutil.rmtree(Path(services().settings.location("data/{venue}/lake")) / "bars")
    with pytest.raises(DamagedFileError):
        models.reproduce(model)
