"""What people and programs do with the published lake: list, export, maintain."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.errors import DamagedFileError
from alpaca_strategy.storage.export import export_bars
from alpaca_strategy.storage.maintenance import maintain as maintain_lake


def list_sessions(start: date | None, end: date) -> list[dict[str, Any]]:
    """Return what is known of each session, oldest first, as small JSON values."""
    home = services()
    return [
        {
            "session": row.session.isoformat(),
            "status": row.status.value,
            "symbols": f"{row.symbols_published}/{row.symbols_asked}",
            "trades": f"{row.trade_count:,}",
            "revision": row.revision,
            "quality": row.quality_severity.value if row.quality_severity else "all held",
            "report": _report(home, row.report_uri),
        }
        for row in home.catalog.sessions(start, end, home.settings.data.feed)
    ]


def _report(home: Services, uri: str | None) -> str:
    try:
        return home.objects.name_of(uri) if uri else ""
    except DamagedFileError:  # storage.objects was moved since; the address still tells
        return uri or ""


def export(symbol: str, path: Path, start: date | None, end: date, *, adjusted: bool) -> int:
    """Write a symbol's published bars as Parquet or CSV; return the rows.

    Raises:
        UserError: The file's suffix, folder or dates are not usable.
        NotPublishedError: Nothing is published there.
    """
    home = services()
    return export_bars(
        lake=home.lake,
        catalog=home.catalog,
        feed=home.settings.data.feed,
        symbol=symbol,
        path=path,
        start=start,
        end=end,
        adjusted=adjusted,
    )


def maintain() -> str:
    """Compact the lake, drop what nobody needs, apply the retention; return what was done."""
    home = services()
    done = maintain_lake(
        lake=home.lake,
        catalog=home.catalog,
        keep=timedelta(days=home.settings.storage.keep_versions_days),
        keep_tape_sessions=home.settings.data.keep_tape_sessions,
    )
    reports = home.backtests.delete_orphans()
    return (
        f"{done.tapes_dropped} tapes dropped, {done.sessions_compacted} sessions compacted, "
        f"{done.files_deleted} files of {done.bytes_freed:,} bytes deleted, {reports} "
        f"reports of no backtest deleted."
    )
