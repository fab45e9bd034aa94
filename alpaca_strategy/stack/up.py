"""`up`: bring the embedded stack up, stay with it, and stop all of it at the end."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from alpaca_strategy.config import Settings, home, load_settings
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.stack import lock, preflight, processes, stop
from alpaca_strategy.stack.first_run import FirstRun
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.report import Report, panel
from alpaca_strategy.stack.start import Starter
from alpaca_strategy.stack.watch import Watch
from alpaca_strategy.state import read_state

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_EVERY_S = 3


class _StopRequestedError(BaseException):
    """A signal asks us to stop; not an Exception, so that nothing on the way swallows it."""


def _raise_stop(_number: int, _frame: FrameType | None) -> None:
    raise _StopRequestedError


class _Terminal:
    """Where we were started from; its end is ours, unless `nohup` says otherwise."""

    def __init__(self) -> None:
        self._kept_alive = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._had_one = os.isatty(0)

    def listen(self) -> None:
        """Take the signals that ask us to stop."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or not self._kept_alive:
                signal.signal(number, _raise_stop)

    def check(self) -> None:
        """Ask to stop where the terminal is gone.

        When `make` itself leads the session, as in `ssh -t host make run`, it alone gets SIGHUP,
        passes nothing on, and waits for us for ever.
        """
        if self._had_one and not self._kept_alive and not os.isatty(0):
            raise _StopRequestedError


def up(*, backfill: bool = True) -> None:
    """Bring everything up and stay until Ctrl-C, SIGTERM or the end of the terminal.

    Args:
        backfill: Fetch the first sessions on the first run.

    Raises:
        EnvironmentFaultError: Something stands in the way; nothing is left running.
    """
    settings = load_settings()
    layout = Layout(home(), settings.resolved_venue.value)
    report = Report(layout)
    preflight.check_folders(layout)
    held = lock.acquire(layout)
    if held is None:
        _tell_running(layout, report)
        return
    with held:
        terminal = _Terminal()
        terminal.listen()
        try:
            _clean_up_after_a_kill(layout, report)
            layout.make_folders()
            preflight.check(settings, layout)
        except _StopRequestedError:
            return  # nothing has been started
        try:
            _bring_up_and_stay(settings, layout, report, terminal, backfill=backfill)
        except _StopRequestedError:
            report.say("\nstopping; once more Ctrl-C does not wait for running tasks")
        finally:
            _stop(layout, report)


def _tell_running(layout: Layout, report: Report) -> None:
    running = lock.holder(layout)
    if running is not None and running.venue not in {layout.venue, "unknown"}:
        msg = (
            f"A stack with venue {running.venue} is running here (process {running.pid}) and "
            f"{layout.venue} is asked for; stop it with `make down` first."
        )
        raise EnvironmentFaultError(msg)
    pid = running.pid if running else "another"
    report.say(f"The stack is already running or starting (process {pid}).")
    if (state := read_state(layout.home, layout.venue)) is not None:
        report.show(panel(state, layout))


def _clean_up_after_a_kill(layout: Layout, report: Report) -> None:
    if left := processes.of_stack(layout.home):
        report.say(f"{len(left)} processes of a run that was killed are stopped first")
        stop.stop_stack(layout)


def _bring_up_and_stay(
    settings: Settings, layout: Layout, report: Report, terminal: _Terminal, *, backfill: bool
) -> None:
    report.say(f"starting with venue {layout.venue}, state under {layout.home}")
    starter = Starter(settings, layout, report)
    starter.run()
    watch = Watch(starter.supervisor, layout)

    def look() -> None:
        terminal.check()
        said = watch.look()
        if said is None:
            msg = (
                f"The supervisor has died, so everything is stopped; its log is "
                f"{layout.program_logs / 'supervisord.log'}."
            )
            raise EnvironmentFaultError(msg)
        for line in said:
            report.say(line, style="red")

    look()
    if backfill:
        FirstRun(settings, layout, report, starter).run(look)
    report.show(panel(starter.state, layout))
    while True:
        look()
        time.sleep(_LOOK_EVERY_S)


def _stop(layout: Layout, report: Report) -> None:
    """Stop everything; a second signal does not wait for running tasks."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    begin = time.monotonic()
    try:
        stop.stop_stack(layout)
    except _StopRequestedError:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        stop.stop_at_once(layout)
    report.say(f"stopped, no process is left ({time.monotonic() - begin:.1f} s); the data stay")
