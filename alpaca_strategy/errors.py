"""Every error this package raises on purpose.

AlpacaStrategyError
├── UserError                 something the user gave or must change; exit status 2
│   ├── SettingsError         a setting is missing, malformed or contradicts another
│   ├── NotASessionError      the exchange is closed on that day, or it lies in the future
│   ├── CalendarRangeError    the day lies outside the known exchange calendar
│   └── UnknownSymbolError    a symbol is not in the universe, or not known to the venue
├── EnvironmentFaultError     the machine or a service it needs; exit status 3
│   ├── ServiceUnavailableError  Postgres, object storage or the venue does not answer
│   ├── PortTakenError        another process listens where we want to
│   └── DiskSpaceError        too little room to work safely
├── VenueError                what the venue answered, or did not; exit status 4
│   ├── CredentialsError      the venue refuses the keys
│   ├── EntitlementError      the account may not read this feed
│   ├── RateLimitedError      429 for longer than we wait
│   ├── VenueUnavailableError no usable answer within the deadline
│   └── MalformedResponseError  an answer that breaks the venue's own protocol
└── DataError                 the data themselves; exit status 5
    ├── QualityError          a critical expectation failed for the whole session
    ├── NotPublishedError     a session that was asked for has not been published
    ├── BusyError             another run is working on the same session
    │   ├── SupersededError   a decision was made about another champion than there is now
    │   └── LeaseEndedError   a trader's right to trade is over
    ├── TooFewSessionsError   training needs more sessions than are published
    ├── TrainingError         training came to no usable model
    ├── ModelRefusedError     a model is foreign, expired, or of other features or another feed
    ├── DamagedFileError      a stored file cannot be read
    ├── LateTradeError        a trade is older than the last one of its symbol
    └── EnginesDisagreeError  the two backtest engines came to different trades

A message is one sentence with the value and the limit, then what to do. The command line prints
the message alone; a traceback means a defect of ours.
"""

from __future__ import annotations


class AlpacaStrategyError(Exception):
    """The root of the tree; never raised itself."""

    exit_status = 1


class UserError(AlpacaStrategyError):
    """Something the user gave, or must change."""

    exit_status = 2


class SettingsError(UserError):
    """A setting is missing, malformed or contradicts another."""


class NotASessionError(UserError):
    """The exchange is closed on that day, or the day is not over yet."""


class CalendarRangeError(UserError):
    """The day lies outside the known exchange calendar."""


class UnknownSymbolError(UserError):
    """A symbol is not in the universe, or not known to the venue."""


class EnvironmentFaultError(AlpacaStrategyError):
    """The machine, or a service that it needs, is not fit."""

    exit_status = 3


class ServiceUnavailableError(EnvironmentFaultError):
    """Postgres, object storage or another of our services does not answer."""


class PortTakenError(EnvironmentFaultError):
    """Another process listens where we want to."""


class DiskSpaceError(EnvironmentFaultError):
    """There is too little room to work safely."""


class VenueError(AlpacaStrategyError):
    """What the venue answered, or did not."""

    exit_status = 4


class CredentialsError(VenueError):
    """The venue refuses the keys."""


class EntitlementError(VenueError):
    """The account may not read this feed or this range."""


class RateLimitedError(VenueError):
    """The venue answered 429 for longer than we wait."""


class VenueUnavailableError(VenueError):
    """The venue gave no usable answer within the deadline."""


class MalformedResponseError(VenueError):
    """An answer breaks the venue's own protocol."""


class DataError(AlpacaStrategyError):
    """The data themselves are not as they must be."""

    exit_status = 5


class QualityError(DataError):
    """A critical expectation failed, so the session is not published."""


class NotPublishedError(DataError):
    """A session that was asked for has not been published."""


class BusyError(DataError):
    """Another run is working on the same session."""


class SupersededError(BusyError):
    """A decision was made about another champion than there is now; it must be made again."""


class LeaseEndedError(BusyError):
    """A trader's right to trade is over: another one is wanted, or none."""


class TooFewSessionsError(DataError):
    """Training needs more sessions than are published."""


class TrainingError(DataError):
    """Training came to no usable model; the champion stays."""


class ModelRefusedError(DataError):
    """A model is foreign, expired, or was made for other features, symbols or another feed."""


class DamagedFileError(DataError):
    """A stored file cannot be read."""


class LateTradeError(DataError):
    """A trade is older than the last one of its symbol; the session must be rebuilt."""


class EnginesDisagreeError(DataError):
    """The two backtest engines came to different trades; neither is to be trusted."""
