"""Look after a running stack: tell what was restarted, and end what a dead component left."""

from __future__ import annotations

import time
from collections import defaultdict, deque

import psutil

from alpaca_strategy.stack import processes
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.postgres import last_lines
from alpaca_strategy.stack.supervisor import ProgramInfo, Supervisor

_WINDOW_S, _MANY = 300, 3


class Watch:
    """What was seen of the programs so far."""

    def __init__(self, supervisor: Supervisor, layout: Layout) -> None:
        self._supervisor, self._layout = supervisor, layout
        self._pids: dict[str, int] = {}
        self._families: dict[str, list[psutil.Process]] = {}
        self._restarts: dict[str, deque[float]] = defaultdict(deque)
        self._given_up: set[str] = set()

    def look(self) -> list[str] | None:
        """Return what happened since the last look; None where the supervisor itself is gone."""
        programs = self._supervisor.programs()
        if not programs:
            return None
        said: list[str] = []
        for name, program in programs.items():
            before = self._pids.get(name, 0)
            if before and program.pid != before:
                self._end_family(name)
            if program.state == "FATAL":
                said += self._tell_given_up(program)
            elif program.pid and before and program.pid != before:
                said.append(self._tell_restart(program))
            if program.pid or before:
                self._pids[name] = program.pid or before
            if program.pid and name != "postgres":
                self._families[name] = processes.descendants_of(program.pid)
        return said

    def _end_family(self, name: str) -> None:
        """End what a dead program left: idle workers would stay for ever, tasks would run twice."""
        family = [process for process in self._families.pop(name, []) if process.is_running()]
        processes.end(family, grace_s=3)

    def _tell_restart(self, program: ProgramInfo) -> str:
        now, recent = time.monotonic(), self._restarts[program.name]
        recent.append(now)
        while now - recent[0] > _WINDOW_S:
            recent.popleft()
        log = self._layout.program_logs / f"{program.name}.log"
        if len(recent) < _MANY:
            return f"{program.name} had ended and was restarted; its log is {log}"
        return (
            f"{program.name} was restarted {len(recent)} times within "
            f"{_WINDOW_S // 60} minutes; {last_lines(log)}"
        )

    def _tell_given_up(self, program: ProgramInfo) -> list[str]:
        if program.name in self._given_up:
            return []
        self._given_up.add(program.name)
        log = self._layout.program_logs / f"{program.name}.log"
        return [f"{program.name} does not stay up and is left stopped; {last_lines(log)}"]
