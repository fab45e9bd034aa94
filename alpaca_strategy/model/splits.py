"""Which sessions a model learns from, which stop its training, and which judge it.

Sessions are never divided. Labels end within their own session, so sessions apart need no purge;
but a window reaches into the session before, and days that follow each other resemble each other:
so `embargo` sessions between any two parts belong to neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_strategy.errors import TooFewSessionsError

#: Sessions that judge challenger and champion: fewer cannot tell an IC of 0.02 from none.
HOLDOUT = 21
EMBARGO = 1
MIN_TRAINING = 8
#: Of what is left after the hold-out, this part stops the training and calibrates the scores.
VALIDATION_SHARE = 0.15
MIN_VALIDATION = 3


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of sessions, oldest first, each part before the next."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    holdout: tuple[int, ...]


def split_sessions(sessions: int, *, holdout: int = HOLDOUT, embargo: int = EMBARGO) -> Split:
    """Split so many consecutive sessions for one retraining.

    Raises:
        TooFewSessionsError: They are not enough.
    """
    rest = sessions - holdout - 2 * embargo
    validation = max(MIN_VALIDATION, round(rest * VALIDATION_SHARE))
    training = rest - validation
    if training < MIN_TRAINING:
        least = holdout + 2 * embargo + MIN_VALIDATION + MIN_TRAINING
        msg = (
            f"{sessions} sessions are too few to train on: {least} are the least, of which the "
            f"last {holdout} judge the model; publish more with `alpaca-strategy backfill`."
        )
        raise TooFewSessionsError(msg)
    return _parts(training, validation, holdout, embargo)


def walk_forward(
    sessions: int, *, folds: int, test: int, embargo: int = EMBARGO
) -> tuple[Split, ...]:
    """Return folds whose tests follow each other and end with the newest session.

    Each trains on everything before its test, but for the embargo.

    Raises:
        TooFewSessionsError: The first fold has too little to train on.
    """
    ends = [sessions - test * i for i in range(folds - 1, -1, -1)]
    return tuple(split_sessions(end, holdout=test, embargo=embargo) for end in ends)


def _parts(training: int, validation: int, holdout: int, embargo: int) -> Split:
    second = training + embargo
    third = second + validation + embargo
    return Split(
        tuple(range(training)),
        tuple(range(second, second + validation)),
        tuple(range(third, third + holdout)),
    )
