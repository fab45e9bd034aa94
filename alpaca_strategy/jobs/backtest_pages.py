"""What the console shows about backtests: all of them, one of them, its report and its trades."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from alpaca_strategy.bootstrap import services
from alpaca_strategy.jobs import backtest_words as words
from alpaca_strategy.jobs.backtest_figures import BacktestFigures, Measured
from alpaca_strategy.jobs.model_words import Notice
from alpaca_strategy.storage.backtest_records import BacktestRow, FoldRow, Origin

BACKTESTS = 100  # on the page of all
OF_A_MODEL = 50  # on the page of a model
_IN_LISTS = ("total_return", "sharpe", "max_drawdown")

_HEAD = (
    "position", "symbol", "entered_at", "exited_at", "shares", "entry_price_usd",
    "exit_price_usd", "cost_usd", "profit_usd", "entry_score", "exit_reason",
)  # fmt: skip
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
#: Of its lineage, what the page tells elsewhere.
_TOLD = frozenset({"rules", "costs", "cash", "venue", "feed", "code", "traded"})


@dataclass(frozen=True, slots=True)
class BacktestLine:
    """A backtest in a list.

    Attributes:
        row: The backtest.
        figures: Those that stand in lists.
    """

    row: BacktestRow
    figures: BacktestFigures

    @property
    def asked(self) -> str:
        """What tells it from others over the same sessions, and what set it off."""
        return f"{words.say_what_was_asked(self.row)}; {words.say_where_from(self.row)}"

    @property
    def total_return(self) -> Measured:
        """What the cash earned, a fraction."""
        return self.figures.get("total_return")

    @property
    def sharpe(self) -> Measured:
        """Annualised."""
        return self.figures.get("sharpe")

    @property
    def max_drawdown(self) -> Measured:
        """The deepest fall, a fraction."""
        return self.figures.get("max_drawdown")


@dataclass(frozen=True, slots=True)
class BacktestsPage:
    """All backtests.

    Attributes:
        headline: What came of the newest model's backtest, else of the newest, as a sentence.
        newest: It; None where there is none.
        lines: The newest backtests, newest first.
        more: Whether there are older ones.
        venue: Whose data they ran over.
        feed: Of the bars.
    """

    headline: str
    newest: BacktestRow | None
    lines: tuple[BacktestLine, ...]
    more: bool
    venue: str
    feed: str


@dataclass(frozen=True, slots=True)
class Origins:
    """A piece of a backtest's lineage.

    Attributes:
        name: In words.
        text: What it is; empty where it is a table.
        head: Names of the columns of the table.
        rows: Its rows.
    """

    name: str
    text: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class BacktestPage:
    """All about one backtest.

    Attributes:
        row: The backtest.
        headline: What was earned, as a sentence.
        certainty: How sure that is, as a sentence.
        agreement: Whether the two engines came to the same, as a sentence.
        origin: What set it off, in a few words.
        notices: What a reader must know first, the worst first.
        figures: What came of it.
        folds: Which model scored which sessions, oldest first.
        rules: Of the strategy.
        costs: Of its trades.
        lineage: What it came from.
    """

    row: BacktestRow
    headline: str
    certainty: str
    agreement: str
    origin: str
    notices: tuple[Notice, ...]
    figures: BacktestFigures
    folds: tuple[FoldRow, ...]
    rules: tuple[words.Parameter, ...]
    costs: tuple[words.Parameter, ...]
    lineage: tuple[Origins, ...]


def backtests_page() -> BacktestsPage:
    """Return the backtests on the feed in the settings.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    home = services()
    feed = home.settings.data.feed
    rows = home.backtests.recent(BACKTESTS + 1, feed=feed)
    lines = _lines(rows[:BACKTESTS])
    # What a person tried last says less than what the newest model came to.
    own = (line for line in lines if line.row.origin is Origin.NEW_MODEL)
    first = next(own, lines[0] if lines else None)
    return BacktestsPage(
        headline=words.say_what_came_of_it(first.row, first.figures)
        if first
        else "No backtest has been made yet.",
        newest=first.row if first else None,
        lines=lines,
        more=len(rows) > BACKTESTS,
        venue=home.settings.resolved_venue.value,
        feed=feed.value,
    )


def backtests_of(model: str) -> tuple[BacktestLine, ...]:
    """Return the newest backtests in which a model scored, newest first."""
    return _lines(services().backtests.recent(OF_A_MODEL, model=model))


def backtest_page(backtest: str) -> BacktestPage:
    """Return all about one backtest.

    Raises:
        UserError: There is no such backtest.
        ServiceUnavailableError: Postgres does not answer.
    """
    kept = services().backtests
    row = kept.read(backtest)
    figures = BacktestFigures(kept.metrics(backtest))
    return BacktestPage(
        row=row,
        headline=words.say_what_came_of_it(row, figures),
        certainty=words.say_how_sure(row, figures),
        agreement=words.say_who_agrees(row),
        origin=words.say_where_from(row),
        notices=words.find_notices(row),
        figures=figures,
        folds=tuple(kept.folds(backtest)),
        rules=words.list_parameters(row.rules, words.RULES),
        costs=words.list_parameters(row.costs, words.COSTS),
        lineage=tuple(
            _origins(name, value)
            for name, value in kept.lineage(backtest).items()
            if name not in _TOLD
        ),
    )


def backtest_report(backtest: str) -> bytes:
    """Return the report of a backtest as HTML, its hash checked.

    Raises:
        UserError: There is no such backtest.
        DamagedFileError: The report is gone, or is not as it was recorded.
        ServiceUnavailableError: Postgres or object storage does not answer.
    """
    return services().backtests.page(backtest)[1]


def backtest_trades(backtest: str) -> bytes:
    """Return the trades of a backtest as CSV; times in UTC.

    Raises:
        UserError: There is no such backtest.
        ServiceUnavailableError: Postgres does not answer.
    """
    kept = services().backtests
    kept.read(backtest)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_HEAD)
    table.writerows([_cell(value) for value in astuple(trade)] for trade in kept.trades(backtest))
    return text.getvalue().encode()


def _lines(rows: Sequence[BacktestRow]) -> tuple[BacktestLine, ...]:
    metrics = services().backtests.metrics_of([row.id for row in rows], _IN_LISTS)
    return tuple(BacktestLine(row, BacktestFigures(metrics.get(row.id, ()))) for row in rows)


def _cell(value: Any) -> Any:
    """Return a value as a spreadsheet may read it; a text that looks like a formula is quoted."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and (value.startswith(_FORMULA) or value.lstrip() != value):
        return f"'{value}"
    return value


def _origins(name: str, value: Any) -> Origins:
    words_ = name.replace("_", " ").capitalize()
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        head = tuple(dict.fromkeys(str(key) for one in value for key in one))
        rows = tuple(tuple(_text(one.get(key)) for key in head) for one in value)
        return Origins(words_, head=tuple(key.replace("_", " ") for key in head), rows=rows)
    return Origins(words_, _text(value))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_text(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "\N{EN DASH}" if value is None else str(value)
