"""What must hold of the session over all symbols; a critical failure refuses all of it."""

from __future__ import annotations

from alpaca_strategy.domain.market import Severity
from alpaca_strategy.quality.rules import Demand, Rule

_CRITICAL, _WARNING = Severity.CRITICAL, Severity.WARNING

RULES: tuple[Rule, ...] = (
    Rule(
        name="the_market_traded",
        column="nothing_traded",
        demand=Demand.NONE,
        severity=_CRITICAL,
        expects="At least one symbol has a bar.",
        reason="no symbol has a single bar",
        action="Check the calendar and the venue's status, then fetch the session again.",
    ),
    Rule(
        name="the_session_starts_at_the_open",
        column="market_head",
        demand=Demand.AT_MOST,
        severity=_CRITICAL,
        limit="market_silence",
        expects="Before the first bar of any symbol at most {limit} minutes with bars "
        "were to be expected.",
        reason="no symbol has a bar in the first minutes, where {value} minutes with bars "
        "were to be expected",
        action="Check the time zone of the source and the window that was fetched.",
    ),
    Rule(
        name="the_session_lasts_to_the_close",
        column="market_tail",
        demand=Demand.AT_MOST,
        severity=_CRITICAL,
        limit="market_silence",
        expects="After the last bar of any symbol at most {limit} minutes with bars "
        "were to be expected.",
        reason="no symbol has a bar in the last minutes, where {value} minutes with bars "
        "were to be expected",
        action="The day was cut short: fetch the session again, and check the calendar.",
    ),
    Rule(
        name="the_market_is_never_silent_for_long",
        column="market_gap",
        demand=Demand.AT_MOST,
        severity=_CRITICAL,
        limit="market_silence",
        expects="While no symbol had a bar, at most {limit} minutes with bars were to be expected.",
        reason="no symbol has a bar for a stretch in which {value} minutes with bars "
        "were to be expected",
        action="A stretch was lost: fetch the session again.",
    ),
)
