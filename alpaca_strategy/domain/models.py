"""Words for models: what a gate may decide, how a version stands, how the champion changes."""

from __future__ import annotations

from enum import StrEnum


class VerdictKind(StrEnum):
    """What a gate decides about a challenger."""

    PROMOTE = "promote"  # it takes the champion's place
    PROVISIONAL = "provisional"  # it serves, though nothing showed it to be as good as another
    KEEP = "keep"  # the champion stays
    ASK = "ask"  # a person decides
    SUSPECT = "suspect"  # too good to be true: a person looks first
    REFUSED = "refused"  # it must not serve

    @property
    def serves(self) -> bool:
        """Whether the challenger becomes the champion."""
        return self in {VerdictKind.PROMOTE, VerdictKind.PROVISIONAL}


class VersionStatus(StrEnum):
    """Whether a version may serve."""

    REGISTERED = "registered"  # it may
    REFUSED = "refused"  # a gate or a person found it unfit
    DAMAGED = "damaged"  # its artifact cannot be read
    RETIRED = "retired"  # nobody needs it: the data that it pins may go


class ChampionChange(StrEnum):
    """How the champion changed."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PIN = "pin"
    UNPIN = "unpin"
