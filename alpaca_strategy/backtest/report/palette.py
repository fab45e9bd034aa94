"""The colours of the report, by name: the page's own, and Okabe and Ito's for what is compared.

What is earned is blue and what is lost is orange: they are told apart by those who cannot tell red
from green. Lines and marks stand out from the page by 3 to 1, words by 4.5 to 1, in both modes.

Source:
    Okabe, Ito (2008), Color Universal Design; some are darkened here until they stand out.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Colour by name, in light mode. Charts name them with an @ in front.
LIGHT: Mapping[str, str] = {
    "page": "#ffffff", "panel": "#f7f8fa", "line": "#dfe3e8", "text": "#1c2430",
    "quiet": "#5b6675", "blue": "#185286", "bad": "#b34700", "bad-panel": "#fdf3ec",
    "warn": "#7a5b00", "warn-panel": "#fbf5e1", "faint": "#7d8896", "wash": "#cfdcea",
    "series-0": "#185286", "series-1": "#b87a00", "series-2": "#00805d", "series-3": "#b8578c",
    "series-4": "#2c91cc", "series-5": "#d55e00", "series-6": "#7d7300", "series-7": "#7d8896",
}  # fmt: skip

DARK: Mapping[str, str] = {
    "page": "#14181e", "panel": "#1b2027", "line": "#323a45", "text": "#e4e8ed",
    "quiet": "#9ba6b4", "blue": "#8cc0ee", "bad": "#f5995a", "bad-panel": "#2a2019",
    "warn": "#e0bd5c", "warn-panel": "#29241a", "faint": "#808b99", "wash": "#263747",
    "series-0": "#8cc0ee", "series-1": "#f0b43c", "series-2": "#35c49a", "series-3": "#e29cc6",
    "series-4": "#4f9fe0", "series-5": "#f08a4b", "series-6": "#e6dc6a", "series-7": "#808b99",
}  # fmt: skip

#: From what is lost to what is earned, also so soft that words stand out from it, and from nothing
#: to much; in steps from 0 to 1.
LIGHT_SCALES: Mapping[str, tuple[str, ...]] = {
    "diverging": ("#b34700", "#e7a673", "#f5f6f8", "#8fb5d8", "#185286"),
    "soft": ("#d8a98a", "#f7f8fa", "#93aec5"),
    "rising": ("#f5f6f8", "#a9c6e0", "#5b93c4", "#185286"),
}
DARK_SCALES: Mapping[str, tuple[str, ...]] = {
    "diverging": ("#f5995a", "#8a5330", "#1f252d", "#345f86", "#8cc0ee"),
    "soft": ("#744f39", "#1b2027", "#48627b"),
    "rising": ("#1b2027", "#2c4a66", "#4f83b3", "#8cc0ee"),
}

#: How many colours there are for what is compared; the last one is for the rest.
SERIES = 8


def scale(steps: tuple[str, ...]) -> list[list[float | str]]:
    """Return a colour scale as charts take it."""
    return [[round(i / (len(steps) - 1), 4), colour] for i, colour in enumerate(steps)]


def palettes() -> dict[str, dict[str, object]]:
    """Return both modes' colours and scales by name, as the page's script takes them."""
    return {
        "light": {**LIGHT, **{name: scale(steps) for name, steps in LIGHT_SCALES.items()}},
        "dark": {**DARK, **{name: scale(steps) for name, steps in DARK_SCALES.items()}},
    }
