"""The assets that DAGs hand to each other, declared once, and what their events say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Asset, AssetAlias

from orchestration.sessions import is_backfill

#: Published minute bars. An event means: this session is visible, and is not as it was before.
BARS = Asset(name="bars", uri="lake://market/bars", group="market")


#: What a task that may change `BARS` has as its outlet. An outlet of the asset itself would have
#: an event with every success, also where nothing changed; of an alias only those that are added.
CHANGED_BARS = AssetAlias("changed bars")

#: Models that were trained. An event means: this one was registered, whether it will serve or not.
MODEL = Asset(name="model", uri="model://registered", group="model")
#: As `CHANGED_BARS`.
NEW_MODEL = AssetAlias("new model")

#: The model in service. An event means: another one serves since now.
CHAMPION = Asset(name="champion", uri="model://champion", group="model")
#: As `CHANGED_BARS`.
CHANGED_CHAMPION = AssetAlias("changed champion")


def announce_bars(context: Any, published: dict[str, Any]) -> dict[str, Any]:
    """Add an event of `BARS` that says which session it is about; without a change there is none.

    Args:
        context: The context of a task that has `CHANGED_BARS` as an outlet.
        published: What `alpaca_strategy.jobs.market_data.publish` returned.
    """
    if published["changed"]:
        extra = {
            "session": published["session"],
            "revision": published["revision"],
            "backfill": is_backfill(context),
        }
        context["outlet_events"][CHANGED_BARS].add(BARS, extra=extra)
    return published


def announce_model(context: Any, evaluated: dict[str, Any]) -> dict[str, Any]:
    """Add an event of `MODEL` that says which model was registered; for a known one there is none.

    An attempt that dies after registering a model has said nothing, and to the next one the model
    is known; so that one says it. Who listens asks whether it has done its work already.

    Args:
        context: The context of a task that has `NEW_MODEL` as an outlet.
        evaluated: What `alpaca_strategy.jobs.judging.evaluate_candidate` returned.
    """
    if evaluated["new"] or context["ti"].try_number > 1:
        extra = {"model": evaluated["model"], "backfill": is_backfill(context)}
        context["outlet_events"][NEW_MODEL].add(MODEL, extra=extra)
    return evaluated


def announce_champion(context: Any, promoted: dict[str, Any]) -> dict[str, Any]:
    """Add an event of `CHAMPION` that says which model serves now; without a change there is none.

    Args:
        context: The context of a task that has `CHANGED_CHAMPION` as an outlet.
        promoted: What `alpaca_strategy.jobs.retrain.promote` returned.
    """
    if promoted["changed"]:
        context["outlet_events"][CHANGED_CHAMPION].add(CHAMPION, extra={"model": promoted["model"]})
    return promoted


def new_models(events: Iterable[Any]) -> list[str]:
    """Return the models that events of `MODEL` are about, each once, backfills left out.

    A run may bring several: all that were registered since the run before.
    """
    extras = [event.extra or {} for event in events]
    found = (e["model"] for e in extras if "model" in e and not e.get("backfill"))
    return list(dict.fromkeys(found))


def live_sessions(events: Iterable[Any]) -> list[str]:
    """Return the sessions that events of `BARS` are about, oldest first, backfills left out.

    Airflow emits the events of backfilled runs like all others, so a backfill of a thousand
    sessions would set off as many trainings. A consumer asks here first and skips when empty.
    """
    extras = [event.extra or {} for event in events]
    return sorted({e["session"] for e in extras if "session" in e and not e.get("backfill")})
