"""The registry of models: what is written stays, one champion at a time, and a way back."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from registered_models import HERE, NOW, SAID, a_version, add, expired, in_force, serve
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from stored_sessions import DAY

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import ChampionChange, VerdictKind, VersionStatus
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    BusyError,
    ModelRefusedError,
    SupersededError,
    UserError,
)
from alpaca_strategy.storage import database
from alpaca_strategy.storage.champion_log import changing, lock_key
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.registry import Registry
from alpaca_strategy.storage.registry_records import (
    DataPin,
    Decision,
    Metric,
    ModelVersion,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


# ---------------------------------------------------------------------------- what is registered


def test_what_is_registered_comes_back_whole(registry: Registry) -> None:
    version = a_version()
    metrics = [
        Metric("rank_ic", 0.031, 0.012, 0.05, 21),
        Metric("icir", math.nan),
        Metric("rank_ic", 0.02, -math.inf, math.inf, 2, slice="hour 10"),
    ]
    pins = [
        DataPin(date(2026, 9, 2), 3, "beef", 17, ("feed=iex/session=2026-09-02/x.parquet",)),
        DataPin(date(2026, 9, 1), 1, "cafe", 16, ("a.parquet", "b.parquet")),
    ]
    assert registry.register(version, metrics, pins) == (version.id, True)
    row = registry.version(version.id)
    for name in ModelVersion.__slots__:
        assert getattr(row, name) == getattr(version, name), name
    assert (row.status, row.status_reason) == (VersionStatus.REGISTERED, None)
    assert registry.data(version.id) == pins[::-1]
    icir, overall, hour = registry.metrics(version.id)
    assert math.isnan(icir.value)
    assert overall == metrics[0]
    assert hour == replace(metrics[2], low=None, high=None)
    assert version.id == f"{NOW:%Y-%m-%d}-aaaaaaaa"


def test_an_artifact_is_registered_once_however_often_a_run_is_repeated(
    registry: Registry,
) -> None:
    first = add(registry, "a", created_at=NOW - timedelta(days=1))
    assert registry.register(a_version("a"), [Metric("ic", 0.5)], []) == (first, False)
    assert registry.metrics(first) == []
    assert [row.id for row in registry.versions()] == [first]


def test_versions_are_listed_newest_first(registry: Registry) -> None:
    days = [add(registry, d, created_at=NOW - timedelta(days=int(d))) for d in "312"]
    sip = add(registry, "4", feed=Feed.SIP, created_at=NOW - timedelta(days=4))
    assert [row.id for row in registry.versions()] == [days[1], days[2], days[0], sip]
    assert [row.id for row in registry.versions(2)] == [days[1], days[2]]
    assert [row.id for row in registry.versions(feed=Feed.SIP)] == [sip]


def test_an_unknown_model_is_told_with_what_to_do(registry: Registry) -> None:
    for attempt in (
        lambda: registry.version("nothing"),
        lambda: registry.promote("nothing", expected_champion=None, **SAID),
        lambda: registry.mark("nothing", VersionStatus.DAMAGED, **SAID),
    ):
        with pytest.raises(UserError, match=r"no model nothing; .*alpaca-strategy models"):
            attempt()


def test_a_model_that_breaks_a_rule_is_refused_by_the_database(registry: Registry) -> None:
    rules: list[tuple[dict[str, Any], str]] = [
        ({"id": "my model"}, "id_is_day_and_hash"),
        ({"artifact_sha256": "a" * 63}, "hash_is_sha256"),
        ({"horizon": 0}, "has_a_horizon"),
        ({"symbols": ("ONE",)}, "ranks_at_least_two"),
        ({"expires_at": NOW - timedelta(days=1)}, "expires_after_it_was_made"),
        ({"holdout": ()}, "every_part_has_sessions"),
        ({"validation": (date(2026, 9, 2),)}, "each_part_before_the_next"),
        ({"holdout": (date(2026, 9, 4), date(2026, 9, 8))}, "each_part_before_the_next"),
    ]
    for changes, rule in rules:
        with pytest.raises(IntegrityError, match=rule):
            registry.register(a_version(**changes), [], [])
    assert registry.versions() == []


def test_a_model_is_registered_with_all_its_rows_or_not_at_all(registry: Registry) -> None:
    attempts: list[tuple[list[Metric], list[DataPin], str]] = [
        ([Metric("ic", 0.1, 0.2, 0.1)], [], "bounds_are_ordered"),
        ([Metric("ic", 0.1, n=-1)], [], "counts_something"),
        ([Metric("ic", 0.1), Metric("ic", 0.2)], [], "metric_pkey"),
        ([], [DataPin(DAY, 0, "x", 1, ("a",))], "data_are_pinned"),
        ([], [DataPin(DAY, 1, "x", 1, ())], "data_are_pinned"),
    ]
    for metrics, pins, rule in attempts:
        with pytest.raises(IntegrityError, match=rule):
            registry.register(a_version(), metrics, pins)
    assert registry.versions() == []


# ---------------------------------------------------------------------------- the gate's decisions


def test_the_first_decision_puts_a_model_into_service(registry: Registry) -> None:
    first = add(registry, "a")
    assert registry.champion(*HERE) is None
    number = registry.decide(Decision(first, None, VerdictKind.PROVISIONAL, "The first."))
    champion = registry.champion(*HERE)
    assert champion is not None
    assert (champion.version, champion.provisional, champion.pinned) == (first, True, False)
    assert (champion.previous, champion.reason) == (None, "The first.")
    assert champion.expires_at == registry.version(first).expires_at
    assert abs(champion.since - NOW) < timedelta(hours=1)
    (change,) = registry.changes(*HERE)
    assert (change.position, change.kind) == (1, ChampionChange.PROMOTE)
    assert (change.decision, change.changed_by) == (number, "gate")


def test_a_decision_is_kept_with_its_evidence(registry: Registry) -> None:
    champion, challenger = serve(registry, "a"), add(registry, "b")
    evidence = {"sessions": ["2026-09-08"], "rank_ic": [math.nan, 0.5], "policy": {"margin": 0.01}}
    decision = Decision(
        challenger, champion, VerdictKind.KEEP, "No better.", -0.01, -0.02, math.inf, evidence
    )
    number = registry.decide(decision)
    (row,) = registry.decisions(challenger)
    assert (row.id, row.verdict, row.reason) == (number, VerdictKind.KEEP, "No better.")
    assert (row.difference, row.low, row.high) == (-0.01, -0.02, None)
    assert row.evidence == evidence | {"rank_ic": [None, 0.5]}
    assert in_force(registry) == champion
    registry.decide(replace(decision, verdict=VerdictKind.ASK))
    assert [r.verdict for r in registry.decisions()] == [VerdictKind.ASK, VerdictKind.KEEP]
    assert registry.decisions(champion) == []
    assert [r.verdict for r in registry.decisions(limit=1)] == [VerdictKind.ASK]


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_only_a_verdict_that_says_so_changes_the_champion(
    registry: Registry, kind: VerdictKind
) -> None:
    champion, challenger = serve(registry, "a"), add(registry, "b")
    registry.decide(Decision(challenger, champion, kind, "So it is."))
    serves = kind in {VerdictKind.PROMOTE, VerdictKind.PROVISIONAL}
    assert in_force(registry) == (challenger if serves else champion)
    row = registry.champion(*HERE)
    assert row is not None
    assert row.provisional is (kind is VerdictKind.PROVISIONAL)
    assert row.previous == (champion if serves else None)
    refused = kind is VerdictKind.REFUSED
    status = registry.version(challenger).status
    assert status is (VersionStatus.REFUSED if refused else VersionStatus.REGISTERED)


def test_a_refused_model_cannot_be_promoted_until_a_person_clears_it(registry: Registry) -> None:
    name = add(registry, "a")
    registry.decide(Decision(name, None, VerdictKind.REFUSED, "Backwards."))
    with pytest.raises(ModelRefusedError, match=f"{name} is refused, so it cannot go"):
        registry.promote(name, expected_champion=None, **SAID)
    registry.mark(name, VersionStatus.REGISTERED, **SAID)
    registry.promote(name, expected_champion=None, **SAID)
    assert in_force(registry) == name


def test_a_decision_about_nobody_is_refused_by_the_database(registry: Registry) -> None:
    name = add(registry, "a")
    for verdict, rule in (
        (VerdictKind.PROMOTE, "promoted_over_somebody"),
        (VerdictKind.KEEP, "kept_is_somebody"),
    ):
        with pytest.raises(IntegrityError, match=rule):
            registry.decide(Decision(name, None, verdict, "Odd."))
    assert registry.decisions() == []
    assert registry.champion(*HERE) is None


def test_a_model_is_never_judged_against_itself_or_another_feed(registry: Registry) -> None:
    name, sip = add(registry, "a"), add(registry, "b", feed=Feed.SIP)
    with pytest.raises(IntegrityError, match="judged_against_another"):
        registry.decide(Decision(name, name, VerdictKind.KEEP, "Odd."))
    with pytest.raises(IntegrityError, match="foreign key"):
        registry.decide(Decision(name, sip, VerdictKind.KEEP, "Odd."))


def test_a_person_may_carry_out_what_the_gate_asked(registry: Registry) -> None:
    champion, challenger = serve(registry, "a"), add(registry, "b")
    number = registry.decide(Decision(challenger, champion, VerdictKind.ASK, "Borderline."))
    registry.promote(challenger, expected_champion=champion, decision=number, **SAID)
    last = registry.changes(*HERE)[-1]
    assert (last.version, last.decision, last.changed_by) == (challenger, number, "me")


# ---------------------------------------------------------------------------- one change at a time


def test_a_champion_that_changed_meanwhile_is_not_replaced(registry: Registry) -> None:
    first, second, third = serve(registry, "a"), serve(registry, "b"), add(registry, "c")
    for attempt in (
        lambda: registry.promote(third, expected_champion=first, **SAID),
        lambda: registry.promote(third, expected_champion=None, **SAID),
        lambda: registry.decide(Decision(third, first, VerdictKind.PROMOTE, "Better.")),
    ):
        with pytest.raises(BusyError, match=f"The champion is {second} by now, not"):
            attempt()
    assert in_force(registry) == second
    assert registry.decisions() == []  # what was not done is not on record as done


def test_of_promotions_at_once_with_the_same_expectation_one_wins(
    registry: Registry, database_url: str
) -> None:
    champion = serve(registry, "0")
    names = [add(registry, digit) for digit in "12345678"]
    barrier = threading.Barrier(len(names))

    def attempt(name: str) -> str | AlpacaStrategyError:
        engine = connect(database_url)
        try:
            barrier.wait(30)
            if int(name[-1]) % 2:
                Registry(engine).promote(name, expected_champion=champion, **SAID)
            else:
                verdict = Decision(name, champion, VerdictKind.PROMOTE, "Better.")
                Registry(engine).decide(verdict)
        except AlpacaStrategyError as error:
            return error
        else:
            return name
        finally:
            engine.dispose()

    with ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(attempt, names))
    winners = [one for one in found if isinstance(one, str)]
    assert len(winners) == 1
    assert {type(one) for one in found if not isinstance(one, str)} == {SupersededError}
    assert in_force(registry) == winners[0]
    assert [change.position for change in registry.changes(*HERE)] == [1, 2]


def test_the_database_itself_lets_only_one_of_two_changes_follow_the_same(
    engine: Engine, registry: Registry
) -> None:
    name = serve(registry, "a")
    with (
        engine.connect() as connection,
        pytest.raises(IntegrityError, match="champion_change_pkey"),
    ):
        connection.execute(
            text(
                "INSERT INTO model.champion_change (venue, feed, position, kind, version_id,"
                " provisional, reason, changed_by)"
                " VALUES ('simulator', 'iex', 1, 'promote', :name, false, 'x', 'x')"
            ),
            {"name": name},
        )


def test_a_change_that_does_not_end_is_told(
    registry: Registry, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = serve(registry, "a")
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 1)
    other = connect(database_url)
    with (
        changing(registry.engine, *HERE),
        pytest.raises(BusyError, match="Another change of the iex champion does not end"),
    ):
        Registry(other).pin(*HERE, **SAID)
    assert Registry(other).pin(*HERE, **SAID) == name
    other.dispose()


def test_feeds_and_venues_have_champions_of_their_own(registry: Registry) -> None:
    iex = serve(registry, "a")
    for digit, where in (("b", (Venue.SIMULATOR, Feed.SIP)), ("c", (Venue.PAPER, Feed.IEX))):
        assert registry.champion(*where) is None
        name = add(registry, digit, venue=where[0], feed=where[1])
        registry.promote(name, expected_champion=None, **SAID)
        found = registry.champion(*where)
        assert found is not None
        assert found.version == name
    assert in_force(registry) == iex


def test_a_second_retraining_is_told_at_once(registry: Registry, database_url: str) -> None:
    other = connect(database_url)
    second = Registry(other)
    with registry.retraining_lock(*HERE):
        with (
            pytest.raises(BusyError, match="Another retraining on iex data of simulator"),
            second.retraining_lock(*HERE),
        ):
            pass
        with second.retraining_lock(Venue.SIMULATOR, Feed.SIP):
            pass  # another feed is another model
        serve(second, "a")  # a retraining in progress stops nobody from a promotion
    with (
        second.retraining_lock(*HERE),
        pytest.raises(RuntimeError),
        registry.retraining_lock(Venue.PAPER, Feed.IEX),
    ):
        raise RuntimeError
    with registry.retraining_lock(Venue.PAPER, Feed.IEX), registry.retraining_lock(*HERE):
        pass
    for _ in range(20):  # it is free at once, not a moment later
        with registry.retraining_lock(*HERE):
            pass
    other.dispose()


def test_a_retraining_whose_connection_is_lost_ends_as_it_would_have(registry: Registry) -> None:
    with registry.retraining_lock(*HERE), registry.engine.begin() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database()"
        ended = connection.execute(
            text(
                f"SELECT count(pg_terminate_backend(pid, 10000)) {others}"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        ).scalar_one()
        assert ended == 1
    with registry.retraining_lock(*HERE):
        pass


def test_the_right_to_retrain_ends_with_its_process(registry: Registry, database_url: str) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        manager = Registry(connect(database_url)).retraining_lock(*HERE)
        manager.__enter__()
        os.write(write, b"held")
        os.kill(os.getpid(), 9)
    assert os.read(read, 4) == b"held"
    os.waitpid(child, 0)
    key = {"key": lock_key("retraining", *HERE)}
    with registry.engine.begin() as connection:  # the server notices a dead client a moment later
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
    with registry.retraining_lock(*HERE):
        pass
    os.close(read)
    os.close(write)


# ---------------------------------------------------------------------------- back, and staying


def test_rollback_goes_back_one_champion_at_a_time(registry: Registry) -> None:
    first, second, third = (serve(registry, digit) for digit in "abc")
    row = registry.champion(*HERE)
    assert row is not None
    assert row.previous == second
    assert registry.rollback(*HERE, **SAID) == second
    assert registry.rollback(*HERE, **SAID) == first
    with pytest.raises(UserError, match="no earlier iex model to roll back to; train another"):
        registry.rollback(*HERE, **SAID)
    assert in_force(registry) == first
    kinds = [change.kind.value for change in registry.changes(*HERE)]
    assert kinds == ["promote"] * 3 + ["rollback"] * 2
    assert third not in {registry.champion(*HERE).version, registry.champion(*HERE).previous}  # type: ignore[union-attr]


def test_rollback_never_returns_to_what_was_rolled_back_from(registry: Registry) -> None:
    first, bad = serve(registry, "a"), serve(registry, "b")
    registry.rollback(*HERE, **SAID)
    third = serve(registry, "c")
    row = registry.champion(*HERE)
    assert row is not None
    assert (row.version, row.previous) == (third, first)
    assert registry.rollback(*HERE, **SAID) == first
    assert bad != in_force(registry)


def test_rollback_from_a_champion_that_came_back_returns_to_the_one_between(
    registry: Registry,
) -> None:
    first, second = serve(registry, "a"), serve(registry, "b")
    registry.promote(first, expected_champion=second, **SAID)
    assert registry.rollback(*HERE, **SAID) == second
    assert registry.rollback(*HERE, **SAID) == first


def test_rollback_never_goes_from_a_model_to_itself(registry: Registry) -> None:
    first, second = serve(registry, "a"), serve(registry, "b")
    registry.promote(first, expected_champion=second, **SAID)
    registry.mark(second, VersionStatus.DAMAGED, **SAID)
    with pytest.raises(UserError, match=rf"roll back to \({second} is damaged\)"):
        registry.rollback(*HERE, **SAID)


@pytest.mark.parametrize(
    "status", [VersionStatus.REFUSED, VersionStatus.DAMAGED, VersionStatus.RETIRED]
)
def test_rollback_passes_over_what_may_not_serve(registry: Registry, status: VersionStatus) -> None:
    first, second, _ = (serve(registry, digit) for digit in "abc")
    registry.mark(second, status, **SAID)
    assert registry.champion(*HERE).previous == first  # type: ignore[union-attr]
    assert registry.rollback(*HERE, **SAID) == first


def test_rollback_with_nothing_fit_to_return_to_says_why(
    registry: Registry, engine: Engine
) -> None:
    with pytest.raises(UserError, match="No iex model is in service yet; train one"):
        registry.rollback(*HERE, **SAID)
    old = add(registry, "a", **expired())
    _insert_champion(engine, old)
    second, third = serve(registry, "b"), serve(registry, "c")
    registry.mark(second, VersionStatus.DAMAGED, **SAID)
    expired_on = registry.version(old).expires_at.date()
    with pytest.raises(
        UserError, match=rf"\({second} is damaged; {old} expired on {expired_on}\); train another"
    ):
        registry.rollback(*HERE, **SAID)
    assert in_force(registry) == third


def _insert_champion(engine: Engine, name: str) -> None:
    """Make a champion of a model that has expired by now, as it was when it had not."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO model.champion_change (venue, feed, position, kind, version_id,"
                " provisional, reason, changed_by)"
                " VALUES ('simulator', 'iex', 1, 'promote', :name, false, 'x', 'x')"
            ),
            {"name": name},
        )


def test_an_expired_model_cannot_be_promoted(registry: Registry) -> None:
    name = add(registry, "a", **expired())
    with pytest.raises(ModelRefusedError, match=rf"{name} expired on \d{{4}}-.*cannot go into"):
        registry.promote(name, expected_champion=None, **SAID)


def test_a_rollback_returns_to_a_provisional_champion_as_it_was(registry: Registry) -> None:
    first, second = add(registry, "a"), add(registry, "b")
    registry.decide(Decision(first, None, VerdictKind.PROVISIONAL, "The first."))
    registry.decide(Decision(second, first, VerdictKind.PROMOTE, "Better."))
    registry.rollback(*HERE, reason="It lost money.", by="ann")
    row = registry.champion(*HERE)
    assert row is not None
    assert (row.version, row.provisional) == (first, True)
    assert (row.reason, row.changed_by) == ("It lost money.", "ann")
    assert row.since == registry.changes(*HERE)[-1].changed_at


def test_a_pinned_champion_stays_until_it_is_unpinned(registry: Registry) -> None:
    first, second = serve(registry, "a"), add(registry, "b")
    since = registry.champion(*HERE).since  # type: ignore[union-attr]
    assert registry.pin(*HERE, **SAID) == first
    assert registry.pin(*HERE, **SAID) == first  # twice is once
    row = registry.champion(*HERE)
    assert row is not None
    assert (row.pinned, row.since) == (True, since)
    for attempt in (
        lambda: registry.decide(Decision(second, first, VerdictKind.PROMOTE, "Better.")),
        lambda: registry.promote(second, expected_champion=first, **SAID),
    ):
        with pytest.raises(UserError, match=f"{first} is pinned in service, so {second}"):
            attempt()
    registry.decide(Decision(second, first, VerdictKind.KEEP, "Pinned."))
    assert registry.unpin(*HERE, **SAID) == first
    assert registry.unpin(*HERE, **SAID) == first
    assert registry.champion(*HERE).pinned is False  # type: ignore[union-attr]
    assert len(registry.changes(*HERE)) == 3
    registry.promote(second, expected_champion=first, **SAID)
    assert in_force(registry) == second


def test_a_rollback_lifts_the_pin(registry: Registry) -> None:
    first, second = serve(registry, "a"), serve(registry, "b")
    registry.pin(*HERE, **SAID)
    assert registry.rollback(*HERE, **SAID) == first
    row = registry.champion(*HERE)
    assert row is not None
    assert (row.pinned, second) == (False, registry.changes(*HERE)[2].version)


def test_nothing_can_be_pinned_before_there_is_a_champion(registry: Registry) -> None:
    for change in (registry.pin, registry.unpin):
        with pytest.raises(UserError, match="No iex model is in service yet"):
            change(*HERE, **SAID)


def test_the_champion_cannot_be_promoted_again_or_retired(registry: Registry) -> None:
    name = serve(registry, "a")
    with pytest.raises(UserError, match="in service already"):
        registry.promote(name, expected_champion=name, **SAID)
    with pytest.raises(UserError, match="cannot be retired"):
        registry.mark(name, VersionStatus.RETIRED, **SAID)
    registry.mark(name, VersionStatus.DAMAGED, reason="torn", by="ann")
    row, version = registry.champion(*HERE), registry.version(name)
    assert row is not None
    assert row.status is VersionStatus.DAMAGED
    assert (version.status_reason, version.status_by) == ("torn", "ann")
