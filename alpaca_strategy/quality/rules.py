"""The form of an expectation, before Great Expectations sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from alpaca_strategy.domain.market import Severity

Values = dict[str, float]


class Demand(StrEnum):
    """What an expectation demands of its column; a value that is not a number says nothing."""

    NONE = "none"  # no offender counted
    AT_MOST = "at_most"
    AT_LEAST = "at_least"
    EQUAL = "equal"  # to the column named in ``other``


@dataclass(frozen=True, slots=True)
class Rule:
    """One named expectation.

    Attributes:
        name: Its name everywhere: report, Postgres, tests.
        column: Column of its suite's frame.
        demand: What must hold.
        severity: Critical quarantines.
        expects: What must hold, in words; ``{limit}`` is filled.
        reason: What to say when it does not; ``{value}``, ``{of}``, ``{limit}`` are filled.
        action: What a person does then.
        limit: Name in ``thresholds.LIMITS``, for AT_MOST and AT_LEAST.
        of: Column that counts what was looked at.
        other: The other column of EQUAL.
        percent: The figures are shares.
    """

    name: str
    column: str
    demand: Demand
    severity: Severity
    expects: str
    reason: str
    action: str
    limit: str | None = None
    of: str | None = None
    other: str | None = None
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found in one symbol's rows.

    Attributes:
        values: Column to figure.
        offenders: Column to the indices of offending rows.
    """

    values: Values
    offenders: dict[str, np.ndarray]

    @classmethod
    def of(cls, values: Values, masks: dict[str, np.ndarray]) -> Measured:
        """Build from masks over the rows: a mask's column holds how many it marks."""
        offenders = {name: np.flatnonzero(mask) for name, mask in masks.items()}
        counts = {name: float(found.size) for name, found in offenders.items()}
        return cls(
            values | counts, {name: found for name, found in offenders.items() if found.size}
        )
