"""What the report is made of: sections of charts, tables and sentences, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Trace = dict[str, Any]
Layout = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several things that a chart can show.

    Attributes:
        label: What a person chooses by.
        traces: What is drawn for it.
    """

    label: str
    traces: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that the page's script draws.

    Attributes:
        name: On this page.
        finding: What it shows, as a title and for those who cannot see it.
        reading: How it is read.
        traces: As Plotly takes them; colours are names of the palette with an @ in front. None of
            them: there is nothing to show.
        layout: Likewise.
        height: In pixels.
        axis: ``curve`` or ``sessions`` where the script gives the x axis its points and dates.
        ranges: Whether buttons narrow the x axis to its last sessions.
        choices: What else can be shown instead, chosen from a list.
        asked: What the list asks for.
        half: Whether two such charts stand side by side.
        nothing: Why there is nothing to show.
    """

    name: str
    finding: str
    reading: str = ""
    traces: tuple[Trace, ...] = ()
    layout: Layout = field(default_factory=dict)
    height: int = 300
    axis: str = ""
    ranges: bool = False
    choices: tuple[Choice, ...] = ()
    asked: str = ""
    half: bool = False
    nothing: str = "There is nothing to show."
    kind: str = "chart"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.traces and not self.choices

    def for_script(self) -> Mapping[str, Any]:
        """Return what the page's script draws; a trace of several choices is in it once."""
        shown = [choice.traces for choice in self.choices] or [self.traces]
        each = {id(trace): trace for traces in shown for trace in traces}
        place = {key: i for i, key in enumerate(each)}
        return {
            "traces": list(each.values()),
            "choices": [[place[id(trace)] for trace in traces] for traces in shown],
            "layout": self.layout,
            "axis": self.axis,
        }


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        tone: ``good``, ``bad``, ``quiet`` or nothing.
        heat: From -1, a deep loss, to 1; None for no colour.
    """

    text: str
    tone: str = ""
    heat: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        finding: What it shows.
        reading: How it is read.
        head: Names of the columns; those that begin with # hold numbers.
        rows: Cells, or their texts.
        half: Whether two such tables stand side by side.
        nothing: Why there is nothing to show.
    """

    finding: str
    reading: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[Cell | str]]
    half: bool = False
    nothing: str = "There is nothing to show."
    kind: str = "table"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.rows

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Names of the columns, and whether they hold numbers."""
        return [(name.removeprefix("#"), name.startswith("#")) for name in self.head]

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, each of cells."""
        return [[Cell(c) if isinstance(c, str) else c for c in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Words:
    """Paragraphs, or points of a list."""

    finding: str
    texts: tuple[str, ...]
    points: bool = False
    kind: str = "words"


@dataclass(frozen=True, slots=True)
class TradeList:
    """The table of all trades, which the page's script fills."""

    finding: str
    reading: str
    empty: bool
    nothing: str
    kind: str = "trades"


@dataclass(frozen=True, slots=True)
class Replay:
    """One decision and what came of it, bar by bar."""

    finding: str
    facts: tuple[tuple[str, str], ...]
    chart: Chart
    names: Table
    kind: str = "replay"


Part = Chart | Table | Words | TradeList | Replay


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that a person may go to.

    Attributes:
        key: In the page's address.
        short: In the list of sections.
        finding: What it shows.
        reading: How it is read.
        parts: From top to bottom.
    """

    key: str
    short: str
    finding: str
    reading: str
    parts: tuple[Part, ...]

    @property
    def charts(self) -> list[Chart]:
        """All charts with something to draw."""
        own = [part for part in self.parts if isinstance(part, Chart)]
        replayed = [part.chart for part in self.parts if isinstance(part, Replay)]
        return [chart for chart in own + replayed if not chart.empty]


def line(y: Sequence[Any], name: str, colour: str, **more: Any) -> Trace:
    """Return a line."""
    style = {
        "color": f"@{colour}",
        "width": more.pop("width", 1.5),
        "dash": more.pop("dash", "solid"),
    }
    return {"type": "scatter", "mode": "lines", "y": y, "name": name, "line": style, **more}


def bars(x: Sequence[Any], y: Sequence[Any], *, hover: str, **more: Any) -> Trace:
    """Return bars that are blue above nothing and orange below, unless a marker is given."""
    if "marker" not in more:
        signs = ["@bad" if value is not None and value < 0 else "@blue" for value in y]
        more["marker"] = {"color": signs}
    return {
        "type": "bar", "x": x, "y": y, "hovertemplate": hover + "<extra></extra>",
        **more,
    }  # fmt: skip


def upright(x: float, colour: str = "quiet", dash: str = "dot", yref: str = "paper") -> Layout:
    """Return a vertical line across a chart."""
    return {
        "type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": yref,
        "line": {"color": f"@{colour}", "width": 1.2, "dash": dash},
    }  # fmt: skip


def level(y: float, yref: str = "y", colour: str = "quiet", dash: str = "dot") -> Layout:
    """Return a horizontal line across a chart."""
    return {
        "type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y, "yref": yref,
        "line": {"color": f"@{colour}", "width": 1.2, "dash": dash},
    }  # fmt: skip


def note(text: str, colour: str = "quiet", **where: Any) -> Layout:
    """Return words within a chart."""
    return {"text": text, "showarrow": False, "font": {"color": f"@{colour}", "size": 12}, **where}


def name_axis(names: Sequence[str]) -> Layout:
    """Return an axis that shows every name, and takes none for a number or a date."""
    return {
        "type": "category", "categoryarray": list(names), "showgrid": False, "zeroline": False,
        "tickmode": "linear", "dtick": 1, "tickfont": {"size": 10.5}, "ticks": "",
    }  # fmt: skip
