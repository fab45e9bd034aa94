"""What the trader is given is wrong or missing: data, scores, a model, shares after a split."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_path import Journal, journal_of
from trading_floor import SESSION, SETTINGS, Floor, trading_floor

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.config import Settings, load_settings
from alpaca_strategy.errors import DamagedFileError, ModelRefusedError
from alpaca_strategy.jobs.in_service import model_in_service
from alpaca_strategy.jobs.training_data import features_fingerprint
from alpaca_strategy.model.calibration import Calibration
from alpaca_strategy.model.checkpoint import Card, Model, dump_model
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape
from tests.registered_models import NOW, SAID, a_version

#: As a trader starts with: 30 names, of which 95 % must have a bar of the last minutes.
EVERYBODY = tuple(Settings().symbols())
STRICT: dict[str, Any] = {
    "data": {"symbols": list(EVERYBODY)}, "trading": {"min_coverage": 0.95},
}  # fmt: skip
MADNESS = ("nan", "infinite", "constant", "exploded",
           "expected_nan", "expected_infinite", "expected_exploded")  # fmt: skip


def live_through(floor: Floor, *, flat: bool = True) -> tuple[dict[str, Any], Journal]:
    """Let a trader live through what is left of the session, and judge it."""
    ending = floor.finish(floor.start())
    assert ending["reason"] == "closed", floor.log()
    assert floor.judge(flat=flat) == [], floor.log()
    return ending, journal_of(floor)


def at(clock: str) -> str:
    return f"{SESSION}T{clock}-04:00"


def orders_between(floor: Floor, first: str, last: str) -> list[dict[str, Any]]:
    start, end = datetime.fromisoformat(at(first)), datetime.fromisoformat(at(last))
    return [
        one
        for one in floor.simulator.truth()["orders"]
        if start <= datetime.fromisoformat(one["submitted_at"]) < end
    ]


def skipped(journal: Journal) -> list[str]:
    return [one.skipped for one in journal.decisions if one.skipped is not None]


# ---------------------------------------------------------------- a model that is out of order


def play_mad(database: str, folder: Path, madness: str, start: str = "15:46") -> None:
    with trading_floor(database, folder, seed=2, start=start) as floor:
        floor.told |= {"madness": madness, "mad_from": 380}
        _, journal = live_through(floor)
        sane = [one for one in journal.decisions if one.minute < 380]
        mad = [one for one in journal.decisions if 380 <= one.minute < 384]
        assert sane
        assert mad
        assert all(one.skipped is None for one in sane), floor.log()
        assert all(one.skipped is not None for one in mad), floor.log()
        assert not orders_between(floor, "15:50:30", "15:54:59"), floor.log()
        # Whatever the model says, everything is sold before the close.
        assert orders_between(floor, "15:46:00", "15:50:30")
        assert orders_between(floor, "15:55:00", "16:00:00")


@pytest.mark.integration
def test_model_that_does_not_answer_keeps_nothing_from_being_sold(
    trading_database: str, tmp_path: Path
) -> None:
    patient = {"trading": {"grace_s": 15.0, "decision_deadline_s": 30.0}}
    with trading_floor(
        trading_database, tmp_path, seed=1, rate=60.0, start="15:43", settings=patient
    ) as floor:
        floor.told |= {"madness": "silent", "mad_from": 378}
        ending = floor.finish(floor.start())
        assert ending["reason"] == "closed", floor.log()
        assert ending["flat"], floor.log()
        assert floor.judge() == [], floor.log()
        assert floor.simulator.truth()["fills"]
        skipped = [one["reason"] for one in floor.logged("decision_skipped")]
        assert "the model has not answered in time" in skipped


@pytest.mark.integration
@pytest.mark.parametrize("madness", ["nan"])
def test_scores_that_rank_nothing_lead_to_no_order(
    trading_database: str, tmp_path: Path, madness: str
) -> None:
    play_mad(trading_database, tmp_path, madness)


@pytest.mark.proof
@pytest.mark.parametrize("madness", MADNESS)
def test_no_madness_of_a_model_leads_to_an_order(
    trading_database: str, tmp_path: Path, madness: str
) -> None:
    play_mad(trading_database, tmp_path, madness, start="15:30")


# ---------------------------------------------------------------- data that are missing


@pytest.mark.integration
def test_tenth_of_the_names_without_data_is_too_much(trading_database: str, tmp_path: Path) -> None:
    with trading_floor(
        trading_database, tmp_path, start="15:52", settings=STRICT, trades=800
    ) as floor:
        for symbol in EVERYBODY[:3]:
            floor.simulator.damage("missing_symbol", symbol, floor.session)
        _, journal = live_through(floor)
        assert skipped(journal), floor.log()
        assert all("90%" in why for why in skipped(journal)), skipped(journal)
        assert not floor.simulator.truth()["orders"]


@pytest.mark.integration
def test_one_silent_name_of_thirty_is_left_out_and_not_waited_for(
    trading_database: str, tmp_path: Path
) -> None:
    play_silent(trading_database, tmp_path, EVERYBODY[4], seed=0, start="15:50")


def play_silent(database: str, folder: Path, silent: str, seed: int, start: str) -> None:
    with trading_floor(
        database, folder, seed=seed, start=start, settings=STRICT, trades=800
    ) as floor:
        floor.simulator.damage("missing_symbol", silent, floor.session)
        _, journal = live_through(floor)
        assert not skipped(journal), floor.log()
        orders = floor.simulator.truth()["orders"]
        assert orders
        assert all(one["symbol"] != silent for one in orders)
        closing = 384
        for one in journal.decisions:
            late = (one.decided_at - one.due_at).total_seconds()
            assert late < 1, floor.log()  # the minute was closed by the clock
            name = next(name for name in one.names if name.symbol == silent)
            assert name.close is None
            assert one.minute >= closing or name.score is None


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_any_silent_name_is_left_out(trading_database: str, tmp_path: Path, seed: int) -> None:
    play_silent(trading_database, tmp_path, EVERYBODY[seed * 7], seed, start="15:00")


@pytest.mark.proof
@pytest.mark.parametrize("count", [12, 20])
def test_no_decision_on_bars_that_are_old(
    trading_database: str, tmp_path: Path, count: int
) -> None:
    """The whole market is silent for more than ten minutes, and then goes on."""
    with trading_floor(
        trading_database, tmp_path, start="15:02", settings=STRICT, trades=2000
    ) as floor:
        floor.simulator.damage("missing_minutes", None, floor.session, first=342, count=count)
        _, journal = live_through(floor)
        old = [one for one in journal.decisions if 344 <= one.minute < 342 + count]
        assert old
        assert all(one.skipped is not None for one in old), floor.log()
        first, last = 342 + 2, 342 + count
        assert not orders_between(floor, f"15:{first - 330:02d}:30", f"15:{last - 330:02d}:00"), (
            floor.log()
        )
        later = [one for one in journal.decisions if one.minute >= 342 + count + 4]
        assert any(one.skipped is None for one in later), floor.log()


# ---------------------------------------------------------------- overnight

OVERNIGHT: dict[str, Any] = {
    "strategy": {**SETTINGS["strategy"], "flat_minutes_before_close": 0, "hold_minutes": 60},
}


@contextmanager
def two_days(
    database: str, folder: Path, seed: int, **options: Any
) -> Iterator[tuple[Floor, dict[str, Decimal]]]:
    """Trade an afternoon, keep what is held, and stand before the next morning."""
    with trading_floor(
        database, folder, seed=seed, start="15:54", settings=OVERNIGHT, **options
    ) as floor:
        ending, _ = live_through(floor, flat=False)
        assert not ending["flat"], floor.log()
        held = holdings(floor)
        floor.session = date(2026, 10, 6)
        yield floor, held


def holdings(floor: Floor) -> dict[str, Decimal]:
    return {one["symbol"]: Decimal(str(one["qty"])) for one in floor.simulator.truth()["positions"]}


def orders_on(floor: Floor, day: date) -> list[dict[str, Any]]:
    return [
        one
        for one in floor.simulator.truth()["orders"]
        if one["submitted_at"].startswith(day.isoformat())
    ]


def next_afternoon(floor: Floor) -> dict[str, Any]:
    """Let the second session come about, and a trader live through its end."""
    floor.simulator.advance(f"{floor.session}T15:52:00-04:00")
    return floor.finish(floor.start())


@pytest.mark.integration
def test_split_overnight_is_booked_and_nothing_is_traded_for_it(
    trading_database: str, tmp_path: Path
) -> None:
    play_split(trading_database, tmp_path, seed=1, new=4, old=1)


def play_split(database: str, folder: Path, seed: int, new: int, old: int) -> None:
    day = date(2026, 10, 6)
    splits = [f"{symbol}:{day}:{new}/{old}" for symbol in SETTINGS["data"]["symbols"]]
    with two_days(database, folder, seed, split=splits) as (floor, held):
        ending = next_afternoon(floor)
        assert ending["reason"] == "closed", floor.log()
        assert not ending["differences"], floor.log()
        reader = floor.reader()
        adjusted = {one.symbol: one.qty for one in reader.adjustments(floor.book)}
        reader.engine.dispose()
        factor = Decimal(new) / Decimal(old)
        wanted = {symbol: (qty * factor).quantize(Decimal("1e-9")) - qty
                  for symbol, qty in held.items()}  # fmt: skip
        assert adjusted == wanted, floor.log()
        assert holdings(floor) == holdings_by_journal(floor)
        # Every sale is of what is held now, and none is of what was held before.
        sales = {one["symbol"]: Decimal(str(one["qty"])) for one in orders_on(floor, day)
                 if one["side"] == "sell" and one["symbol"] in held}  # fmt: skip
        assert sales, floor.log()
        assert all(held[symbol] * factor == qty for symbol, qty in sales.items()), sales
        assert not floor.logged("books_differ")
        assert not floor.logged("trading_halted")


def holdings_by_journal(floor: Floor) -> dict[str, Decimal]:
    reader = floor.reader()
    found = dict(reader.positions(floor.book))
    reader.engine.dispose()
    return found


@pytest.mark.proof
@pytest.mark.parametrize(("new", "old"), [(4, 1), (3, 2), (20, 1), (1, 5)])
@pytest.mark.parametrize("seed", range(2))
def test_any_split_overnight_is_booked(
    trading_database: str, tmp_path: Path, seed: int, new: int, old: int
) -> None:
    play_split(trading_database, tmp_path, seed, new, old)


@pytest.mark.integration
def test_renamed_shares_are_told_of_and_left_alone(trading_database: str, tmp_path: Path) -> None:
    """The shares are there under a name that nobody trades, and the old name is gone."""
    with two_days(trading_database, tmp_path, 1) as (floor, held):
        symbol, qty = max(held.items())
        for side, name in (("sell", symbol), ("buy", "AAPL")):
            floor.simulator.external_order(name, side, qty, transfer_price="100")
        floor.simulator.damage("missing_symbol", symbol, floor.session)
        ending = next_afternoon(floor)
        assert ending["reason"] == "closed", floor.log()
        assert ending["differences"], floor.log()
        assert any(symbol in one for one in ending["differences"])
        assert floor.logged("books_differ")
        assert floor.logged("trading_halted")
        touched = {one["symbol"] for one in orders_on(floor, floor.session)}
        assert not touched & {symbol, "AAPL"}, floor.log()
        assert all(one["side"] == "sell" for one in orders_on(floor, floor.session))
        assert holdings(floor)["AAPL"] == qty


# ---------------------------------------------------------------- the model's file


class Bomb:
    """What a pickle would do when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.fixture
def house(home: Path, trading_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setenv("ALPACA_STRATEGY_VENUE", "simulator")
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", trading_database)
    monkeypatch.setenv("ALPACA_STRATEGY_DATA__SYMBOLS", ",".join(SETTINGS["data"]["symbols"]))
    load_settings.cache_clear()
    services.cache_clear()
    yield services()
    services().catalog.engine.dispose()
    services.cache_clear()


def made_for(house: Services, **changes: Any) -> Model:
    """Return an untrained model that fits the house, but for what is changed in its card."""
    symbols = house.settings.symbols()
    shape = NetworkShape(
        symbols=len(symbols), hidden=4, heads=2, feedforward=8, minutes_per_token=60
    )
    values: dict[str, Any] = {
        "fingerprint": features_fingerprint(house, symbols, 10), "feed": "iex",
        "symbols": symbols, "horizon": 10, "preset": "demo", "seed": 7,
        "dataset_hash": "d" * 64, "training": ("2026-09-01", "2026-09-02"),
        "validation": ("2026-09-04", "2026-09-04"), "holdout": ("2026-09-08", "2026-09-09"),
        "code_version": "0.1.0",
    }  # fmt: skip
    return Model(Ranker(shape).eval(), Calibration(0.25, 0.5), Card(**values | changes))


def serve_bytes(house: Services, data: bytes, **changes: Any) -> Path:
    """Put a file into service as the champion, and return where it lies."""
    digest = hashlib.sha256(data).hexdigest()
    uri = house.objects.put(f"models/{digest[:12]}/last.ckpt", data)
    symbols = house.settings.symbols()
    version = a_version(
        artifact_sha256=digest, artifact_uri=uri, symbols=symbols,
        fingerprint=features_fingerprint(house, symbols, 10), **changes,
    )  # fmt: skip
    name, _ = house.registry.register(version, [], [])
    house.registry.promote(name, expected_champion=None, **SAID)
    return Path(uri.removeprefix("file://"))


def refused(house: Services, at: datetime = NOW) -> str:
    """Return how the model in service is refused."""
    with pytest.raises((ModelRefusedError, DamagedFileError)) as caught:
        model_in_service(house, at)
    return str(caught.value)


@pytest.mark.integration
def test_sound_model_serves_and_a_damaged_foreign_or_expired_one_does_not(
    house: Services,
) -> None:
    assert "No model is in service" in refused(house)
    file = serve_bytes(house, dump_model(made_for(house)))
    assert model_in_service(house, NOW).model_id
    assert "expired" in refused(house, NOW + timedelta(days=43))
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", bytes([whole[0] ^ 1]) + whole[1:]):
        file.write_bytes(damaged)
        assert "is not the one that was registered" in refused(house)
    file.unlink()
    refused(house)


@pytest.mark.integration
@pytest.mark.parametrize(
    "changes",
    [
        {"feed": "sip"},
        {"fingerprint": "e" * 16},
        {"symbols": ("TSLA", "F", "NVDA", "MSFT", "OXY", "AAPL")},
        {"symbols": ("F", "TSLA", "NVDA", "MSFT", "OXY", "LLY")},
    ],
)
def test_model_made_for_other_data_is_refused(house: Services, changes: dict[str, Any]) -> None:
    serve_bytes(house, dump_model(made_for(house, **changes)))
    assert "made for other" in refused(house)


@pytest.mark.integration
def test_what_a_models_file_says_is_never_carried_out(house: Services, tmp_path: Path) -> None:
    """Even where the file is the one that was registered."""
    target = tmp_path / "carried-out"
    file = io.BytesIO()
    torch.save({"weights": Bomb(target), "card": {}}, file)
    serve_bytes(house, file.getvalue())
    refused(house)
    assert not target.exists()
    # The bomb does work: what was refused was refused, and not broken.
    file.seek(0)
    torch.load(file, weights_only=False)
    assert target.exists()
