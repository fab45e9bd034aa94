"""Trading statuses in the words of the plan that publishes a symbol."""

from __future__ import annotations

from typing import Any

from alpaca_strategy.simulator.stream_encode import Moment

_UTP = {
    "H": "Trading Halt",
    "Q": "Quotation Resumption",
    "T": "Trading Resumption",
    "P": "Volatility Trading Pause",
}
_CTA = {"2": "Trading Halt", "3": "Resume", "F": "Limit Up-Limit Down"}
_REASONS = {
    "T1": "Halt News Pending",
    "T12": "Trading Halted; For Information Requested by the Exchange",
    "LUDP": "Volatility Trading Pause",
    "MWC1": "Market Wide Circuit Breaker Halt - Level 1",
    "MWC2": "Market Wide Circuit Breaker Halt - Level 2",
    "MWC3": "Market Wide Circuit Breaker Halt - Level 3",
    "R4": "Qualifications Issues Reviewed/Resolved; Quotations/Trading to Resume",
    "P": "News Pending",
    "M": "Limit Up-Limit Down (LULD) Trading Pause",
    "1": "Market Wide Circuit Breaker Level 1",
    "2": "Market Wide Circuit Breaker Level 2",
    "3": "Market Wide Circuit Breaker Level 3",
}
#: What CTA (tapes A and B) says for what UTP (tape C) says.
_CODES_ON_CTA = {"H": "2", "T": "3", "Q": "3", "P": "F"}
_REASONS_ON_CTA = {"T1": "P", "LUDP": "M", "MWC1": "1", "MWC2": "2", "MWC3": "3", "R4": ""}


def status(about: dict[str, Any], symbol: str, plan: str) -> dict[str, Any]:
    """Return the object that tells of a halt, or of its end.

    Args:
        about: code and reason in UTP's words, and at_ns.
        symbol: Whose trading it is.
        plan: A, B or C.
    """
    code, reason = str(about["code"]), str(about["reason"])
    if plan != "C":
        code, reason = _CODES_ON_CTA.get(code, code), _REASONS_ON_CTA.get(reason, reason)
    words = (_UTP if plan == "C" else _CTA).get(code, "")
    return {
        "T": "s", "S": symbol, "sc": code, "sm": words, "rc": reason,
        "rm": _REASONS.get(reason, ""), "t": Moment(about["at_ns"]), "z": plan,
    }  # fmt: skip
