"""Write the exchange calendar that the package carries.

Run `python include/generate_calendar.py` (exchange_calendars is a development dependency) once a
year, and whenever the exchange announces a closure; a test compares the file with a fresh run.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import exchange_calendars

FIRST, LAST = "1990-01-02", "2027-12-31"
TARGET = Path(__file__).resolve().parents[1] / "alpaca_strategy/market/xnys_sessions.csv.gz"


def sessions_csv() -> str:
    """Return one line a session: day, open and close as UTC times of that day."""
    schedule = exchange_calendars.get_calendar("XNYS", start=FIRST, end=LAST).schedule
    lines = ["day,opens_at_utc,closes_at_utc"]
    lines += [
        f"{day:%Y-%m-%d},{opens:%H:%M},{closes:%H:%M}"
        for day, opens, closes in zip(
            schedule.index, schedule["open"], schedule["close"], strict=True
        )
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # no time stamp in the file: the same calendar gives the same bytes
    TARGET.write_bytes(gzip.compress(sessions_csv().encode(), compresslevel=9, mtime=0))
