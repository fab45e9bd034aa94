"""The commands about trading: trade a session, look at the trader, stop it, allow it again."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from alpaca_strategy.errors import UserError
from alpaca_strategy.terminal import Reason, err, out

trader_app = typer.Typer(
    no_args_is_help=True,
    help="Look at the trader, stop it at once, and allow it to trade again.",
)

Account = Annotated[str, typer.Option(help="The account's number; default: the one heard of last.")]
Session = Annotated[str, typer.Option("--session", "-s", help="The session; default: the newest.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(trade)
    app.add_typer(trader_app, name="trader")
    for command in (status, orders, decisions, events, kill, rearm):
        trader_app.command()(command)


def trade(
    simulate: Annotated[
        bool, typer.Option("--simulate", help="On an exchange simulator of its own, without money.")
    ] = False,
    session: Annotated[
        str,
        typer.Option(
            "--session", "-s",
            help="With --simulate: which session; default: the one after the last published.",
        ),
    ] = "",
    rate: Annotated[
        float,
        typer.Option(
            min=0, max=600,
            help="With --simulate: seconds of the market a second; 0: as fast as the work is done.",
        ),
    ] = 60.0,
) -> None:  # fmt: skip
    r"""Trade today's session with the model in service, on paper.

    Needs ALPACA_API_KEY and ALPACA_SECRET_KEY, and `make run` for the database. Ctrl+C stops in
    an orderly way, Ctrl+\ prints the status. Live trading needs three separate opt-ins; see
    docs/trading.md.
    """
    if simulate:
        _simulate(session, rate)
        return
    if session:
        msg = "Only a simulated session can be chosen: add --simulate, or leave --session out."
        raise UserError(msg)
    from alpaca_strategy.jobs import trade as job

    _tell(job.trade(progress=out.print))


def _simulate(session: str, rate: float) -> None:
    from alpaca_strategy.jobs import trade as job
    from alpaca_strategy.jobs.simulated_day import judge, options_of, to_simulator
    from alpaca_strategy.simulator.launch import running_simulator

    day = job.day_to_simulate(session or None)
    with running_simulator(**options_of(day, rate)) as simulator:
        speed = "as fast as it goes" if rate == 0 else f"{rate:g} times as fast as life"
        out.print(f"session {day} on a simulator at {simulator.url}, {speed}")
        done = job.simulate(
            to_simulator(simulator.url, simulator.key, simulator.secret, simulator.token), day
        )
        _tell(done)
        out.print(judge(done, simulator.truth()))


def _tell(done: dict[str, Any]) -> None:
    earned = done["day_return"]
    result = "" if earned is None else f", day {earned:+.2%}"
    out.print(
        f"session {done['session']} {done['reason']}: {done['decisions']} decisions, "
        f"{done['orders']} orders, {'flat' if done['flat'] else 'NOT FLAT'}, equity "
        f"${float(done['equity']):,.2f}{result}"
    )
    for difference in done["differences"]:
        err.print(f"books differ: {difference}")
    if done["differences"] or (done["reason"] == "closed" and not done["flat"]):
        raise typer.Exit(5)


def status(
    account: Account = "",
    watch: Annotated[bool, typer.Option(help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """Tell what the trader does, holds, and why it does not trade if so."""
    from alpaca_strategy.jobs import trader_status as job

    while True:
        table = Table(show_header=False, box=None)
        for name, value in job.status(account or None):
            table.add_row(name, value)
        if watch:
            out.clear()
        out.print(table)
        if not watch:
            return
        time.sleep(1)


def orders(account: Account = "", session: Session = "") -> None:
    """List the orders of a session: what was wanted, and what became of it."""
    from alpaca_strategy.jobs import trader_status as job

    _print(job.ORDER_COLUMNS, job.orders(account or None, session or None))


def decisions(
    account: Account = "",
    session: Session = "",
    minute: Annotated[
        int, typer.Option(min=-1, show_default=False, help="Every name of this decision.")
    ] = -1,
) -> None:
    """List the decisions of a session; with --minute, why each name was chosen or refused."""
    from alpaca_strategy.jobs import trader_status as job

    if minute < 0:
        _print(job.DECISION_COLUMNS, job.decisions(account or None, session or None))
        return
    _print(job.NAME_COLUMNS, job.names(account or None, session or None, minute))


def events(account: Account = "") -> None:
    """List turns of the switch, and comparisons of books that did not agree; newest first."""
    from alpaca_strategy.jobs import trader_status as job

    _print(job.EVENT_COLUMNS, job.events(account or None))


def kill(
    reason: Reason,
    account: Account = "",
    flatten: Annotated[bool, typer.Option(help="Then sell what the strategy holds.")] = False,
) -> None:
    """Stop trading at once: nothing more is sent, and open orders are cancelled.

    It stands over restarts, until `trader rearm`.
    """
    from alpaca_strategy.jobs import trader_status as job

    out.print(job.kill(account or None, reason=reason, flatten=flatten))


def rearm(reason: Reason, account: Account = "") -> None:
    """Allow trading again, after a kill or after the trader has halted itself."""
    from alpaca_strategy.jobs import trader_status as job

    out.print(job.rearm(account or None, reason=reason))


def _print(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*row)
    out.print(table)
