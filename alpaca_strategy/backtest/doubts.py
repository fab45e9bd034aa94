"""What a reader must be told before the figures of a backtest."""

from __future__ import annotations

from collections.abc import Sequence

from alpaca_strategy.backtest.catalogue import FEW_SESSIONS, FEW_TRADES
from alpaca_strategy.backtest.content import Figure

#: A Sharpe ratio above it is more likely a leak than a discovery.
TOO_GOOD = 3.0
_BANKRUPT = -0.99  # total return


def warnings_of(figures: Sequence[Figure], *, simulated: bool, in_sample: bool) -> tuple[str, ...]:
    """Return what a reader must be told before the figures, a sentence each.

    Args:
        figures: From `measure`.
        simulated: Whether the prices are the simulator's.
        in_sample: Whether a model scored sessions that it had learned from.
    """
    of = {figure.name: figure.value or 0.0 for figure in figures}
    said = []
    if in_sample:
        said.append(
            "In-sample: a model scored sessions that it had learned from, so nothing here says "
            "what it will earn."
        )
    # Before costs too: they may hide a leak. Then the bound is higher, as nobody can earn it.
    if of["sharpe"] > TOO_GOOD or of["gross_sharpe"] > 2.0 * TOO_GOOD:
        before = "" if of["sharpe"] > TOO_GOOD else " before costs"
        said.append(_too_good(of["gross_sharpe" if before else "sharpe"], before, simulated))
    if of["total_return"] < _BANKRUPT:
        said.append("Bankrupt: less than 1 % of the starting cash was left at the end.")
    said += _too_little(int(of["sessions"]), int(of["trades"]))
    if of["carried_overnight"]:
        said.append(
            f"Positions were held over a session's end, {of['carried_overnight']:.0f} in all: they "
            "could not be sold before the close, or the rules hold overnight."
        )
    return tuple(said)


def _too_good(sharpe: float, before: str, simulated: bool) -> str:  # noqa: FBT001 - one caller
    if simulated:
        return (
            f"The Sharpe ratio of {sharpe:.1f}{before} is above {TOO_GOOD:.0f}: the simulator's "
            "prices carry a planted signal, so it says nothing about a real market, "
            "where it would point to look-ahead."
        )
    return (
        f"The Sharpe ratio of {sharpe:.1f}{before} is above {TOO_GOOD:.0f}, which is probably "
        "a leak: look for look-ahead, a decision that knew prices from after it, "
        "before believing any figure."
    )


def _too_little(sessions: int, trades: int) -> list[str]:
    said = []
    if sessions < FEW_SESSIONS:
        said.append(
            f"Only {_counted(sessions, 'session')}: fewer than {FEW_SESSIONS} say "
            "little about risk, and no annual return is shown."
        )
    if trades == 0:
        said.append("No trade was made, so there is nothing to judge.")
    elif trades < FEW_TRADES:
        said.append(f"Only {_counted(trades, 'trade')}: fewer than {FEW_TRADES} may all be luck.")
    return said


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
