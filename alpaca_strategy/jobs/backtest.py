"""One backtest: choose sessions and models, score, run both engines, measure, keep, show.

`plan` and `run` are functions of small JSON values, so that a DAG's task is one call. The same
models, sessions, parameters and code are the same backtest: asked for again, it is kept once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import home as home_folder
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    DiskSpaceError,
    EnginesDisagreeError,
    UserError,
)
from alpaca_strategy.jobs.apart import run_apart as apart
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.jobs.unseen import Share, share_out
from alpaca_strategy.storage.backtest_records import Origin
from alpaca_strategy.storage.whole import write_bytes

if TYPE_CHECKING:  # who only plans need not wait for what compiles
    from alpaca_strategy.backtest.history import History

log = structlog.get_logger(__name__)

Progress = Callable[[int, int, str], None]
#: Parameters that a form or a command may change, by their names in the settings.
CHANGES = ("top_k", "min_score", "hold_minutes", "interval_minutes", "cost_bps")


def plan_all(forms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plan several backtests, without those of new models that have theirs already.

    One that cannot be planned keeps no other from being run.

    Raises:
        AlpacaStrategyError: None can be planned; the first one's reason.
    """
    made, new = services().backtests.newest, Origin.NEW_MODEL
    planned: list[dict[str, Any]] = []
    refused: list[AlpacaStrategyError] = []
    for form in forms:
        if form.get("origin") == new and made(str(form["model"]), origin=new) is not None:
            continue
        try:
            planned.append(plan(form))
        except AlpacaStrategyError as error:
            log.warning("backtest_refused", model=form.get("model"), reason=str(error))
            refused.append(error)
    if refused and not planned:
        raise refused[0]
    return planned


def plan(form: Mapping[str, Any]) -> dict[str, Any]:
    """Settle what a backtest is about, and refuse what cannot be run.

    Args:
        form: model, first, last, symbols, in_sample, origin, and `CHANGES`; all may be missing.

    Returns:
        The same, settled: model, first and last (ISO dates), sessions (their number), symbols (of
        those that are traded), in_sample, origin, changes.

    Raises:
        UserError: A date or a parameter is nonsense, or a symbol is not the model's.
        ModelRefusedError: There is no model, or it has learned from one of the sessions.
        NotPublishedError: Sessions are missing.
    """
    home = services()
    asked = str(form.get("model") or "")
    first, last = _day(form.get("first")), _day(form.get("last"))
    if first and last and first > last:
        msg = f"The first day, {first}, lies after the last one, {last}; exchange them."
        raise UserError(msg)
    in_sample = bool(form.get("in_sample"))
    shares = share_out(home, asked, first, last, in_sample=in_sample)
    symbols = _traded(shares, form.get("symbols"))
    changes = {name: form[name] for name in CHANGES if form.get(name) is not None}
    rules_of(home.settings, symbols, changes)
    return {
        "model": asked or shares[0].version.id,
        "first": shares[0].days[0].isoformat(),
        "last": shares[-1].days[-1].isoformat(),
        "sessions": sum(len(share.days) for share in shares),
        "symbols": list(symbols),
        "in_sample": in_sample,
        "origin": Origin(form.get("origin") or Origin.COMMAND).value,
        "changes": changes,
    }


def run(planned: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    """Run a planned backtest, keep it in Postgres and object storage, and show its report.

    Returns:
        id, new (whether it was not there before), total_return, sharpe, trades, agreed, and
        warnings (sentences).

    Raises:
        EnginesDisagreeError: The engines did not come to the same; the report shows where.
    """
    from alpaca_strategy.backtest.report.page import render
    from alpaca_strategy.jobs.examination import examine
    from alpaca_strategy.jobs.scored_history import score_history

    progress = progress or _to_log()
    home = services()
    shares = share_out(
        home, planned["model"], _day(planned["first"]), _day(planned["last"]),
        in_sample=planned["in_sample"],
    )  # fmt: skip
    rules, costs = rules_of(home.settings, planned["symbols"], planned["changes"])
    scored = score_history(home, shares, interval=rules.interval, progress=progress)
    scored = replace(scored, history=only(scored.history, planned["symbols"]))
    log.info("history_scored", sessions=len(scored.history.sessions))
    backtest = examine(home, shares, scored, rules, costs, progress=progress)
    page = render(backtest)
    new = home.backtests.record(
        backtest,
        page,
        venue=home.settings.resolved_venue,
        feed=home.settings.data.feed,
        origin=planned["origin"],
    )
    _write_newest(*home.backtests.page(backtest.id))  # the first, where it was kept before
    log.info("backtest_kept", id=backtest.id, trades=backtest.agreement.trades)
    if backtest.agreement.difference is not None:
        msg = (
            f"The two engines do not agree: {backtest.agreement.difference} The report "
            f"{backtest.id} shows what the compiled engine made; trust neither before that is "
            f"explained."
        )
        raise EnginesDisagreeError(msg)
    return {
        "id": backtest.id,
        "new": new,
        "total_return": backtest.figure("total_return").value,
        "sharpe": backtest.figure("sharpe").value,
        "trades": backtest.agreement.trades,
        "agreed": backtest.agreement.agreed,
        "warnings": list(backtest.warnings),
    }


def run_apart(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Do what `run` does in a process of its own."""
    return dict(apart("backtest:run", planned=dict(planned)))


def write_report(backtest: str | None, path: Path) -> str:
    """Write the report of a backtest, or of the newest, to a file; return its id.

    Raises:
        UserError: There is none, or the file cannot be written.
        DamagedFileError: The kept page is gone or has changed.
    """
    name, page = services().backtests.page(backtest)
    try:
        path.write_bytes(page)
    except OSError as error:
        msg = f"The report cannot be written to {path} ({error}); choose another file."
        raise UserError(msg) from error
    return name


def _to_log() -> Progress:
    """Return a progress that logs every tenth of the way."""
    before = (0, -1)

    def move(done: int, total: int, note: str) -> None:
        nonlocal before
        if before[0] != total or before[1] != 10 * done // total:
            log.info("backtest_going_on", done=done, of=total, note=note)
        before = (total, 10 * done // total)

    return move


def only(history: History, symbols: list[str]) -> History:
    """Return a history in which only these symbols have scores, so that no other is traded."""
    if set(symbols) == set(history.symbols):
        return history
    other = ~np.isin(history.symbols, symbols)
    scores = history.scores.copy()
    scores[:, other] = np.nan
    return replace(history, scores=scores)


def _traded(shares: tuple[Share, ...], asked: Any) -> tuple[str, ...]:
    known = shares[0].version.symbols
    names = asked.replace(",", " ").split() if isinstance(asked, str) else list(asked or ())
    if asked and not names:
        msg = f"{asked!r} names no symbol; write them as in TSLA,F, or leave it empty for all."
        raise UserError(msg)
    wanted = {name.upper() for name in names}
    if unknown := sorted(wanted - set(known)):
        msg = f"{', '.join(unknown)} is none of the {len(known)} symbols that the model scores."
        raise UserError(msg)
    return tuple(name for name in known if not wanted or name in wanted)


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except (ValueError, TypeError):
        msg = f"{text!r} is not a date; write it as YYYY-MM-DD."
        raise UserError(msg) from None


def _write_newest(backtest: str, page: bytes) -> None:
    """Put the newest report where the mission's README names it; that it cannot be is no loss."""
    newest = services().backtests.newest()
    if newest is None or newest.id != backtest:
        return
    try:
        write_bytes(home_folder() / "results" / "backtest_report.html", page)
    except (OSError, DiskSpaceError) as error:
        log.warning("newest_report_not_written", reason=str(error))
