"""When a task is tried again, what a failure says, and which session a run is about."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import structlog
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.utils.types import DagRunType
from orchestration.assets import (
    BARS,
    CHANGED_BARS,
    MODEL,
    NEW_MODEL,
    announce_bars,
    announce_model,
    live_sessions,
    new_models,
)
from orchestration.backtests import FORM, forms_of, lead_to_backtest
from orchestration.defaults import RETRY_POLICY, again_while_symbols_fail
from orchestration.notifications import report_failure
from orchestration.sessions import session_of
from session_timetable import SessionTimetable

from alpaca_strategy import errors


class Added:
    """Remembers the events that a task added."""

    def __init__(self):
        self.added = []

    def add(self, asset, *, extra):
        self.added.append((asset, extra))


def context(run_type=DagRunType.SCHEDULED, opens_at="2026-11-20T14:30", run_after=None, **params):
    def utc(text):
        return text and datetime.fromisoformat(text).replace(tzinfo=UTC)

    return {
        "dag_run": SimpleNamespace(
            run_type=run_type, data_interval_start=utc(opens_at), run_after=utc(run_after)
        ),
        "dag": SimpleNamespace(timetable=SessionTimetable("close", 255)),
        "params": params,
        "outlet_events": {CHANGED_BARS: Added(), NEW_MODEL: Added()},
        "ti": SimpleNamespace(try_number=1),
    }


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (errors.SettingsError, RetryAction.FAIL),
        (errors.NotASessionError, RetryAction.FAIL),
        (errors.UnknownSymbolError, RetryAction.FAIL),
        (errors.CredentialsError, RetryAction.FAIL),
        (errors.EntitlementError, RetryAction.FAIL),
        (errors.QualityError, RetryAction.FAIL),
        (errors.DamagedFileError, RetryAction.FAIL),
        (errors.LateTradeError, RetryAction.FAIL),
        (errors.EnginesDisagreeError, RetryAction.FAIL),
        (errors.RateLimitedError, RetryAction.RETRY),
        (errors.VenueUnavailableError, RetryAction.RETRY),
        (errors.ServiceUnavailableError, RetryAction.RETRY),
        (errors.BusyError, RetryAction.RETRY),
        (errors.DiskSpaceError, RetryAction.DEFAULT),
        (errors.DataError, RetryAction.DEFAULT),  # a run of the same session may be mending it
        (RuntimeError, RetryAction.DEFAULT),
    ],
)
def test_the_cause_decides_whether_another_attempt_makes_sense(error, action):
    assert RETRY_POLICY.evaluate(error("…"), try_number=1, max_tries=4).action is action


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (
            errors.CredentialsError("The venue\nrefuses the keys."),
            "CredentialsError",
            "reason says",
        ),
        (ZeroDivisionError(), "ZeroDivisionError", "a defect"),
    ],
)
def test_a_failure_is_logged_with_its_reason_and_what_to_do(error, kind, advice):
    task = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=3, try_number=5)
    with structlog.testing.capture_logs() as logs:
        report_failure({"ti": task, "exception": error})
    (entry,) = logs
    assert entry["event"] == "task_failed"
    assert (entry["task_id"], entry["map_index"], entry["attempt"]) == ("t", 3, 5)
    assert entry["kind"] == kind
    assert entry["reason"] in {"The venue refuses the keys.", "no message"}
    assert advice in entry["advice"]


def test_a_run_is_about_the_session_that_opens_with_its_interval():
    assert session_of(context()) == "2026-11-20"


def test_a_persons_choice_comes_first():
    assert session_of(context(DagRunType.MANUAL, session="2013-10-07")) == "2013-10-07"


@pytest.mark.parametrize(
    ("run_after", "session"),
    [
        ("2026-11-23T01:30", "2026-11-20"),  # Sunday evening in New York, already Monday in UTC
        ("2026-11-23T20:59", "2026-11-20"),  # a minute before the close
        ("2026-11-23T21:00", "2026-11-23"),
        ("2026-11-27T18:00", "2026-11-27"),  # a half-day is over at 13:00
    ],
)
def test_a_run_without_a_logical_date_is_about_the_latest_session_that_is_over(run_after, session):
    by_hand = context(DagRunType.MANUAL, opens_at=None, run_after=run_after)
    assert session_of(by_hand) == session


def test_a_backfill_of_one_session_over_and_over_is_refused():
    with pytest.raises(AirflowFailException, match="2026-11-02 in every run; leave the session"):
        session_of(context(DagRunType.BACKFILL_JOB, session="2026-11-02"))


@pytest.mark.parametrize(
    ("run_type", "backfill"),
    [(DagRunType.SCHEDULED, False), (DagRunType.MANUAL, False), (DagRunType.BACKFILL_JOB, True),
     ("backfill", True)],
)  # fmt: skip
def test_a_change_is_announced_with_session_revision_and_whether_it_is_a_backfill(
    run_type, backfill
):
    run = context(run_type)
    published = {"session": "2026-11-20", "changed": True, "revision": 2, "symbols": 30}
    assert announce_bars(run, published) == published
    extra = {"session": "2026-11-20", "revision": 2, "backfill": backfill}
    assert run["outlet_events"][CHANGED_BARS].added == [(BARS, extra)]


def test_publishing_the_same_again_announces_nothing():
    published = {"session": "2026-11-20", "changed": False, "revision": 1, "symbols": 30}
    run = context()
    assert announce_bars(run, published) == published
    assert run["outlet_events"][CHANGED_BARS].added == []


def test_consumers_do_not_see_backfills():
    def event(session, *, backfill):
        return SimpleNamespace(extra={"session": session, "backfill": backfill})

    old = [event(f"2020-01-{day:02}", backfill=True) for day in range(2, 30)]
    live = [event("2026-11-20", backfill=False), event("2026-11-19", backfill=False)]
    assert live_sessions([*old, *live, live[0]]) == ["2026-11-19", "2026-11-20"]
    assert live_sessions(old) == []
    assert live_sessions([SimpleNamespace(extra=None)]) == []  # made by hand in the UI


@pytest.mark.parametrize(
    ("new", "attempt", "announced"),
    [
        (True, 1, True),
        (False, 1, False),  # the same training once more
        (False, 2, True),  # the first attempt may have died before it said so
    ],
)
def test_a_model_is_announced_when_it_is_registered(new, attempt, announced):
    run = context()
    run["ti"].try_number = attempt
    evaluated = {"model": "2026-11-21-1a2b3c4d", "new": new}
    assert announce_model(run, evaluated) is evaluated
    extra = {"model": "2026-11-21-1a2b3c4d", "backfill": False}
    assert run["outlet_events"][NEW_MODEL].added == ([(MODEL, extra)] if announced else [])


def models(*names, backfill=False):
    return [SimpleNamespace(extra={"model": name, "backfill": backfill}) for name in names]


def test_every_new_model_is_seen_once_and_those_of_a_backfill_are_not():
    assert new_models([*models("b", "a"), *models("c", backfill=True), *models("b")]) == ["b", "a"]
    assert new_models([SimpleNamespace(extra=None)]) == []  # made by hand in the UI


def asked(events=(), **params):
    run = context(DagRunType.MANUAL, **params)
    return forms_of({**run, "triggering_asset_events": {MODEL: list(events)} if events else {}})


def test_models_are_backtested_one_by_one_by_the_settings():
    assert asked(models("b", "a"), top_k=None) == [
        {"model": "b", "origin": "new_model"},
        {"model": "a", "origin": "new_model"},
    ]
    assert asked(models("b", backfill=True)) == []


def test_a_person_is_asked_for_everything_and_need_answer_nothing():
    (form,) = asked(**{name: param.resolve() for name, param in FORM.items()})
    assert form == {
        "model": None, "first": None, "last": None, "symbols": None, "in_sample": False,
        "top_k": None, "min_score": None, "hold_minutes": None, "interval_minutes": None,
        "cost_bps": None, "origin": "by_hand",
    }  # fmt: skip
    (form,) = asked(symbols="TSLA, F", top_k=2)
    assert (form["symbols"], form["top_k"], form["first"]) == ("TSLA, F", 2, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_k", 0), ("hold_minutes", -10), ("min_score", 1.5), ("cost_bps", -1), ("first", "soon")],
)
def test_absurd_parameters_are_refused_by_the_form(name, value):
    with pytest.raises(ParamValidationError):
        FORM[name].resolve(value)


def test_the_button_leads_to_all_backtests_until_there_is_one():
    kept = {}
    run = {"ti": SimpleNamespace(xcom_push=kept.__setitem__)}
    assert lead_to_backtest(run) is None
    assert kept == {"backtest_page": "/alpaca/backtests/"}
    done = {"id": "2026-11-21-1a2b3c4d", "trades": 3}
    assert lead_to_backtest(run, done) is done
    assert kept == {"backtest_page": "/alpaca/backtests/2026-11-21-1a2b3c4d"}


@pytest.mark.parametrize(("attempt", "again"), [(1, True), (4, True), (5, False)])
def test_symbols_that_failed_are_tried_again_until_the_last_attempt(
    attempt: int, again: bool
) -> None:
    context = {"ti": SimpleNamespace(try_number=attempt, max_tries=4)}
    done = {"failed": {"TSLA": "no usable answer"}, "transient": ["TSLA"]}
    if again:
        with pytest.raises(errors.VenueUnavailableError, match="1 symbols were not fetched: TSLA"):
            again_while_symbols_fail(context, done)
    else:
        assert again_while_symbols_fail(context, done) is done
    nothing = {"failed": {}, "transient": []}
    assert again_while_symbols_fail(context, nothing) is nothing
    hopeless = {"failed": {"NOSUCH": "does not know a symbol of NOSUCH"}, "transient": []}
    assert again_while_symbols_fail(context, hopeless) is hopeless
