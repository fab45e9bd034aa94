"""Words for the lease: who wants a trader to run, which one may, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any


class Desired(StrEnum):
    """What is wanted."""

    RUN = "run"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Tenure:
    """The right under which a trader works; it ends when the lease has another generation.

    Attributes:
        name: Of the lease; that of the strategy.
        generation: Counts the traders that were asked for.
    """

    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Process:
    """The trader's process as the agent knows it.

    Attributes:
        generation: Under which it was started.
        pid: On the agent's machine.
        started_at: UTC.
        exited_at: UTC; None while it lives.
        exit_code: Negative for a signal; None while it lives, or where nobody could see it.
        last_words: The end of its log, after its end.
    """

    generation: int
    pid: int
    started_at: datetime
    exited_at: datetime | None
    exit_code: int | None
    last_words: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What the trader of the lease's generation told last.

    Attributes:
        age_s: Since it was written, by the database's clock.
        phase: starting, waiting, trading, stopped.
        holds: What keeps it from trading.
        venue_at: UTC, by the venue's clock.
        last_data_at: Newest trade, UTC; None before the first.
    """

    age_s: float
    phase: str
    holds: Mapping[str, str]
    venue_at: datetime
    last_data_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lease:
    """How things stand, all of it read at one moment.

    Attributes:
        name: Of the lease.
        desired: What is wanted.
        generation: Of the trader that may trade, if one is wanted.
        session: Which it trades.
        owner: Who supervises it: a task instance, or a person.
        deadline_at: UTC, by this machine's clock, when it must have ended.
        terms: What the trader must agree with to start: versions, by name.
        reason: Of the last change.
        changed_by: Who made it.
        changed_at: UTC.
        read_at: UTC, by the database's clock.
        agent: Host and process of the agent; None where none has ever come.
        agent_age_s: Since the agent was seen.
        account: That the agent's keys are of.
        process: The newest process; None before the first.
        beat: Of the lease's generation; None before the first.
        question: Of the account, asked last.
        answered: The question that was answered last.
        answer: To that.
    """

    name: str
    desired: Desired
    generation: int
    session: date | None
    owner: str | None
    deadline_at: datetime | None
    terms: Mapping[str, str]
    reason: str
    changed_by: str
    changed_at: datetime
    read_at: datetime
    agent: str | None
    agent_age_s: float | None
    account: str | None
    process: Process | None
    beat: Beat | None
    question: str | None
    answered: str | None
    answer: Mapping[str, Any] | None

    @property
    def tenure(self) -> Tenure:
        """The right that the lease gives."""
        return Tenure(self.name, self.generation)


class LeaseEventKind(StrEnum):
    """What happened to a lease."""

    GRANTED = "granted"
    ADOPTED = "adopted"
    RESTARTED = "restarted"
    RELEASED = "released"
    STARTED = "started"
    EXITED = "exited"
    KILLED = "killed"  # the agent had to
    CANCELLED = "cancelled"  # orders of a trader that is dead
    TOLD = "told"  # something that a person may ask about


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """Something that happened to a lease.

    Attributes:
        generation: Of the lease at that time.
        session: Likewise.
        kind: What.
        reason: Why, in one sentence.
        by: Who.
        detail: Plain data.
        at: UTC.
    """

    generation: int
    session: date | None
    kind: LeaseEventKind
    reason: str
    by: str
    detail: Mapping[str, Any]
    at: datetime
