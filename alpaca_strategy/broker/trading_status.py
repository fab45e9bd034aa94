"""What the exchanges' trading statuses mean: who is halted, who trades again.

Source:
    The status and reason codes of CTA (tapes A and B) and UTP (tapes C and O), as Alpaca's
    documentation of real-time stock data lists them.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import field

from alpaca_strategy.domain.streams import HaltNotice

#: CTA: opening delay, halt, no open or resume. UTP: halt, volatility pause.
_HALTED: Final = frozenset({"1", "2", "4", "H", "P"})
_TRADES_AGAIN: Final = frozenset({"3", "T"})
#: Indications, imbalances, short-sale restrictions; quotes alone resume with Q, trading does not.
_NEITHER: Final = frozenset({"5", "6", "7", "8", "9", "A", "C", "D", "E", "Q"})
#: CTA's word for price bands; it means a pause only where the reason says so.
_BANDS: Final = "F"
_PAUSE: Final = "M"
_MARKET_WIDE: Final = frozenset({"MWC0", "MWC1", "MWC2", "MWC3"})
_MARKET_WIDE_CTA: Final = frozenset({"1", "2", "3"})
_MAX_WORDS: Final = 120


class TradingStatus(msgspec.Struct, tag_field="T", tag="s"):
    """A trading status as the stream tells it."""

    symbol: str = field(name="S")
    code: str = field(name="sc")
    words: str = field(name="sm", default="")
    reason: str = field(name="rc", default="")
    reason_words: str = field(name="rm", default="")
    tape: str = field(name="z", default="")

    @property
    def why(self) -> str:
        """The exchange's words."""
        parts = (self.words, self.code, self.reason_words, self.reason)
        text = ", ".join(part for part in parts if part.strip())
        return "".join(c for c in text if c.isprintable())[:_MAX_WORDS]


class Halts:
    """Turns statuses into notices; remembers whether the whole market is halted."""

    def __init__(self) -> None:
        self._market = False

    def read(self, status: TradingStatus) -> list[HaltNotice] | None:
        """Return what a status changes, which may be nothing; None for an unknown code.

        A market-wide halt is told for each symbol, and so is its end; but no symbol trades while
        the market is halted, so the first one that trades again ends it.
        """
        halted = status.code in _HALTED or (status.code == _BANDS and status.reason == _PAUSE)
        if halted:
            notices = [_notice(status, halted=True, market_wide=False)]
            if _is_market_wide(status):
                self._market = True
                notices.append(_notice(status, halted=True, market_wide=True))
            return notices
        if status.code in _TRADES_AGAIN:
            notices = [_notice(status, halted=False, market_wide=False)]
            if self._market:
                self._market = False
                notices.append(_notice(status, halted=False, market_wide=True))
            return notices
        return [] if status.code in _NEITHER or status.code == _BANDS else None


def _is_market_wide(status: TradingStatus) -> bool:
    on_cta = status.code.isdigit() or status.code == _BANDS
    return status.reason in (_MARKET_WIDE_CTA if on_cta else _MARKET_WIDE)


def _notice(status: TradingStatus, *, halted: bool, market_wide: bool) -> HaltNotice:
    return HaltNotice(status.symbol, halted=halted, market_wide=market_wide, why=status.why)
