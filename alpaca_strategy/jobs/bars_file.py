"""Train and judge on a file of minute bars, without lake, database or registry."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alpaca_strategy.config import load_settings
from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import UserError
from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.jobs.fitting import chosen_plan
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.model.baselines import fit_lightgbm, fit_ridge
from alpaca_strategy.model.dataset import Dataset, SessionBars, build_dataset, decision_rows
from alpaca_strategy.model.evaluation import evaluate, suspicion
from alpaca_strategy.model.evaluation_report import comparison
from alpaca_strategy.model.presets import network_shape, preset_named, training_plan
from alpaca_strategy.model.scorer import predict
from alpaca_strategy.model.splits import split_sessions
from alpaca_strategy.model.training import fit_scaler, train

Progress = Callable[[int, int, str], None]

#: What a bar must have; of the other columns of BAR_COLUMNS any may be missing.
NEEDED = ("symbol", "start_at", "open", "high", "low", "close", "volume")
_COLUMN = {name: i for i, name in enumerate(BAR_COLUMNS)}


@dataclass(frozen=True, slots=True)
class BarsFile:
    """The minute bars of a file.

    Attributes:
        table: Its bars, with `NEEDED` and what else it has of BAR_COLUMNS.
        symbols: In order.
        sessions: From its first to its last day.
        missing: Columns of BAR_COLUMNS that it lacks; features of them say nothing.
    """

    table: pa.Table
    symbols: tuple[str, ...]
    sessions: tuple[Session, ...]
    missing: tuple[str, ...]


def open_bars(path: Path) -> BarsFile:
    """Open a Parquet file of minute bars.

    Raises:
        UserError: It cannot be read, or lacks a column that it needs.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        msg = f"The file {path} cannot be read as Parquet ({error}); name a file of minute bars."
        raise UserError(msg) from error
    lacking = [name for name in NEEDED if name not in table.column_names]
    if (
        lacking
        or not table.num_rows
        or not pa.types.is_timestamp(table.schema.field("start_at").type)
    ):
        what = (
            f"lacks {', '.join(lacking)}" if lacking else "has no bars, or start_at is no timestamp"
        )
        msg = f"The file {path} {what}; it needs the columns {', '.join(NEEDED)}."
        raise UserError(msg)
    table = _typed(table, path)
    times = table["start_at"].cast(pa.timestamp("s", "UTC"))
    days = pc.cast(times, pa.date32())
    first, last = pc.min(days).as_py(), pc.max(days).as_py()
    return BarsFile(
        table=table.set_column(table.schema.get_field_index("start_at"), "start_at", times),
        symbols=tuple(sorted(pc.unique(table["symbol"]).to_pylist())),
        sessions=tuple(exchange_calendar().sessions(first, last)),
        missing=tuple(name for name in BAR_COLUMNS if name not in table.column_names),
    )


def _typed(table: pa.Table, path: Path) -> pa.Table:
    """Return the columns that are known, as text and numbers, without gaps where none may be."""
    known = [name for name in (*NEEDED, *BAR_COLUMNS) if name in table.column_names]
    columns = {}
    for name in dict.fromkeys(known):
        kind = {"symbol": pa.string(), "start_at": table.schema.field("start_at").type}
        try:
            columns[name] = table[name].cast(kind.get(name, pa.float64()))
        except pa.ArrowException as error:
            msg = f"The column {name} of {path} is not what it must be ({error}); correct it."
            raise UserError(msg) from error
        if name in kind and columns[name].null_count:
            msg = f"The column {name} of {path} has {columns[name].null_count} gaps; fill them."
            raise UserError(msg)
    return pa.table(columns)


def train_on_file(
    path: Path,
    *,
    preset: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a network and the baselines on a file's sessions, and judge them on its last 21.

    Returns:
        table (Markdown), sessions, symbols, preset, missing (columns), suspicion (a sentence or
        None).

    Raises:
        UserError: The file is not usable.
        TooFewSessionsError: It holds too few sessions.
    """
    bars, settings = open_bars(path), load_settings()
    split = split_sessions(len(bars.sessions))
    dataset = dataset_of(bars, horizon=settings.model.horizon_minutes)
    chosen = settings.model.preset
    size = preset_named(preset or ("cpu" if chosen == "auto" else chosen))
    seed = settings.training.seed if seed is None else seed
    top_k = settings.model.top_k
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        trained = train(
            dataset,
            split,
            shape=network_shape(size, len(bars.symbols)),
            plan=replace(training_plan(size), **chosen_plan(settings)),  # type: ignore[arg-type]
            seed=seed,
            folder=Path(folder) / "checkpoints",
            progress=progress,
        )
    rows = decision_rows(dataset, split.holdout)
    known = (*split.training, *split.validation)
    learning, scaler = decision_rows(dataset, known), fit_scaler(dataset, known)
    judged = {"model": evaluate(predict(trained.network, dataset, rows), top_k=top_k)}
    for name, fit in (("ridge", fit_ridge), ("lightgbm", fit_lightgbm)):
        baseline = fit(dataset, learning, mean=scaler.mean, std=scaler.std)
        judged[name] = evaluate(baseline.predict(dataset, rows), top_k=top_k)
    return {
        "table": comparison(judged),
        "sessions": len(bars.sessions),
        "symbols": len(bars.symbols),
        "preset": size.value,
        "missing": list(bars.missing),
        "suspicion": suspicion(judged["model"], simulated=False),
    }


def dataset_of(bars: BarsFile, *, horizon: int) -> Dataset:
    """Return a file's bars as a dataset."""
    digest = hashlib.sha256(repr(bars.missing).encode()).hexdigest()
    return build_dataset(
        _sessions(bars),
        minutes=[session.minutes for session in bars.sessions],
        symbols=bars.symbols,
        fingerprint=fingerprint(
            feed="file", condition_fingerprint=digest, symbols=bars.symbols, horizon=horizon
        ),
        horizon=horizon,
    )


def _sessions(bars: BarsFile) -> Iterator[SessionBars]:
    seconds = bars.table["start_at"].cast(pa.int64()).to_numpy()
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    seats = pc.index_in(bars.table["symbol"], pa.array(bars.symbols)).to_numpy()[order]
    numbers = {
        name: bars.table[name].cast(pa.float64()).to_numpy()[order]
        for name in BAR_COLUMNS
        if name not in bars.missing
    }
    for session in bars.sessions:
        opens = int(session.opens_at.timestamp())
        low, high = np.searchsorted(seconds, [opens, opens + 60 * session.minutes])
        minute, seat = (seconds[low:high] - opens) // 60, seats[low:high]
        shape = (session.minutes, len(bars.symbols))
        values, observed = np.zeros((*shape, len(BAR_COLUMNS))), np.zeros(shape, np.bool_)
        observed[minute, seat] = True
        for name, column in numbers.items():
            values[minute, seat, _COLUMN[name]] = column[low:high]
        values[~observed] = np.nan
        yield SessionBars(session.day, values, observed)
