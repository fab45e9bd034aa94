"""Every limit of the gate, by feed, each with its reason.

The figures named "measured" come from 188 real sessions of 16 US stocks (2024-01 to 2024-09,
2,823 symbol-sessions, on average 39 % of the minutes traded) and from the whole consolidated tape
of four stocks on 2013-10-07 and 08.
"""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_strategy.domain.market import Feed


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: its value on each feed, and why it lies there."""

    iex: float
    sip: float
    why: str

    def on(self, feed: Feed) -> float:
        """Return the value for a feed."""
        return self.iex if feed is Feed.IEX else self.sip


#: Letters that may stand in a trade's exchange field.
EXCHANGES: dict[Feed, frozenset[str]] = {
    Feed.IEX: frozenset("V"),
    Feed.SIP: frozenset("ABCDEHIJKLMNPQSTUVWXYZ"),
}

#: Conditions of trading outside regular hours: form T, and sold out of sequence in extended hours.
EXTENDED_CONDITIONS = frozenset("TU")

#: Prints after the close that belong to it: auctions are reported up to minutes late.
CLOSE_GRACE_S = 900
OPEN_GRACE_S = 60

#: Ratios of the splits that companies do; 3:2 is left out, since real bad news moves that far.
SPLIT_RATIOS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)

LIMITS: dict[str, Limit] = {
    "unknown_condition_share": Limit(
        0.001, 0.001, "One stray letter shows as a warning; one in 1,000 changes bars."
    ),
    "extended_inside_share": Limit(
        0.01, 0.01, "Late reports only: measured at most 0.02 %; an hour's shift gives far more."
    ),
    "regular_outside_share": Limit(
        0.01, 0.01, "Measured at most 0.07 % of a tape; an hour's shift moves 10 % or more."
    ),
    "iex_share": Limit(
        1.0, 0.9, "IEX has 2-3 % of the consolidated tape; one with hardly anything else is not it."
    ),
    "trade_size": Limit(
        5e6, 5e8, "IEX holds no large auctions; the largest closing auctions are near 100 M shares."
    ),
    "far_price_factor": Limit(
        3.0, 3.0, "Volume-only prints (contingent, derivatively priced) can lie far away."
    ),
    "rejected_share": Limit(
        0.01, 0.01, "A few bad rows cost nothing; one in 100 means the venue answers wrongly."
    ),
    "spike_factor": Limit(
        1.5,
        1.5,
        "Limit-up/limit-down bands are 5-20 % over five minutes, so no true price leaves its "
        "neighbours by half and returns at once; measured at most 5.3 %.",
    ),
    "rough_factor": Limit(1.1, 1.1, "Twice the largest of 416,091 measured bars; worth a look."),
    "vwap_far": Limit(
        0.05, 0.05, "Odd lots put a vendor's vwap outside by up to 1.9 % (measured), not more."
    ),
    "frozen_bars": Limit(
        10, 10, "Identical price, range and volume again and again: measured runs end at 3 bars."
    ),
    "stuck_bars": Limit(
        120, 120, "Only a dead source prints one single price in two hours of traded minutes."
    ),
    "stale_bars": Limit(
        45, 45, "Takeover targets and low prices stand still for a while; measured at most 19."
    ),
    "minute_volume_factor": Limit(
        2000, 2000, "Opening and news minutes reach 383 times the median minute (measured)."
    ),
    "silent_head": Limit(
        20, 20, "A first day of listing missed 15 expected bars (measured); else at most 7."
    ),
    "silent_tail": Limit(15, 15, "Trading is densest at the close: measured at most 1.6."),
    "silent_gap": Limit(
        40, 40, "Halts are real, and thin stocks trade in bursts: measured at most 30.3."
    ),
    "market_silence": Limit(
        20, 20, "A market-wide circuit breaker lasts 15 minutes; longer means a lost stretch."
    ),
    "coverage": Limit(
        0.005, 0.2, "IEX is thin: measured from 0.8 % of the minutes; the full tape is not."
    ),
    "volume_factor": Limit(
        100, 100, "The wildest measured session had 16 times the median volume."
    ),
    "busy_factor": Limit(20, 20, "Above the measured 16: news, or something else."),
    "quiet_factor": Limit(0.05, 0.05, "Measured sessions stay above 0.19 of the median."),
    "split_tolerance": Limit(
        0.08, 0.08, "An opening lies within 8 % of the split price (measured gaps: -9 to +8 %)."
    ),
    "overnight_move": Limit(0.3, 0.3, "Beyond 30 % overnight a person should have a look."),
}


def limit(name: str, feed: Feed) -> float:
    """Return a limit's value on a feed."""
    return LIMITS[name].on(feed)
