"""The rate limit: so many requests a minute for each key and host, and what was asked for."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Window:
    started: float
    used: int = 0


@dataclass(slots=True)
class Meter:
    """Count requests per key and host in windows that begin with the first request.

    Attributes:
        limit: Requests allowed in a window.
        window_s: Its length; the venue's is a minute.
        served: Requests let through, by "key method path".
        refused: Requests answered 429, by key.
    """

    limit: int
    window_s: float = 60.0
    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _windows: dict[tuple[str, str], _Window] = field(default_factory=dict)

    def take(self, key: str, host: str) -> tuple[bool, dict[str, str]]:
        """Use up one request; return whether there was one left, and the headers that tell."""
        now = time.monotonic()
        window = self._windows.get((key, host))
        if window is None or now >= window.started + self.window_s:
            window = self._windows[key, host] = _Window(now)
        allowed = window.used < self.limit
        window.used += allowed
        if not allowed:
            self.refused[key] += 1
        reset = time.time() + window.started + self.window_s - now
        return allowed, {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - window.used),
            "X-RateLimit-Reset": str(int(-(-reset // 1))),
        }

    def clear(self) -> None:
        """Forget every count."""
        self.served.clear()
        self.refused.clear()
        self._windows.clear()
