"""Several evaluations side by side, as tables that read well as text and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from alpaca_strategy.model.evaluation import Evaluation, Metric

#: Figures of everything: name, words, digits after the point.
_FIGURES = (
    ("ic", "IC", 4),
    ("ic_t", "t of IC", 2),
    ("rank_ic", "rank IC", 4),
    ("rank_ic_t", "t of rank IC", 2),
    ("icir", "ICIR (per session)", 2),
    ("top_k_return_bps", "top {k} return, bps", 2),
    ("top_k_excess_bps", "top {k} over all, bps", 2),
    ("long_short_bps", "top {k} less bottom {k}, bps", 2),
    ("hit_rate", "hit rate of top {k}", 3),
    ("turnover", "turnover of top {k}", 3),
    ("break_even_bps", "break-even round trip, bps", 2),
    ("calibration_slope", "calibration slope", 2),
)
_DIGITS = {name: digits for name, _, digits in _FIGURES} | {"top_k_share": 3}


def comparison(evaluations: Mapping[str, Evaluation]) -> str:
    """Return the figures over everything: a row a figure, a column an evaluation.

    Args:
        evaluations: By name, in the order of the columns; at least one.
    """
    first = next(iter(evaluations.values()))
    rows = [["", *evaluations]]
    rows.append(["sessions", *(str(len(one.sessions)) for one in evaluations.values())])
    rows.append(["decisions", *(f"{one.decisions.sum():,}" for one in evaluations.values())])
    for name, words, _ in _FIGURES:
        cells = [_cell(_find(one, name, "all")) for one in evaluations.values()]
        if any(cells):
            rows.append([words.format(k=first.top_k), *cells])
    for of in _slices(evaluations, "horizon"):
        cells = [_cell(_find(one, "ic", of)) for one in evaluations.values()]
        rows.append([f"IC over {of.split(' ', 1)[1]} minutes", *cells])
    return f"{_table(rows)}\n\n{_legend(first)}"


def breakdown(evaluations: Mapping[str, Evaluation], kind: str, *, name: str = "ic") -> str:
    """Return one figure slice by slice: a row a slice, a column an evaluation.

    Args:
        evaluations: By name, in the order of the columns.
        kind: Of the slices: `session`, `hour`, `symbol`, `sector` or `horizon`.
        name: Of the figure.
    """
    rows = [[kind, *evaluations]]
    for of in _slices(evaluations, kind):
        cells = [_cell(_find(one, name, of)) for one in evaluations.values()]
        rows.append([of.split(" ", 1)[1], *cells])
    return _table(rows)


def _slices(evaluations: Mapping[str, Evaluation], kind: str) -> Sequence[str]:
    found = (m.slice for one in evaluations.values() for m in one.metrics)
    return list(dict.fromkeys(of for of in found if of.startswith(f"{kind} ")))


def _find(evaluation: Evaluation, name: str, of: str) -> Metric | None:
    try:
        return evaluation.metric(name, of)
    except KeyError:
        return None


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if math.isnan(metric.value):
        return "none"
    digits = _DIGITS[metric.name]
    text = f"{metric.value:.{digits}f}"
    if math.isnan(metric.low):
        return text
    return f"{text} [{metric.low:.{digits}f}, {metric.high:.{digits}f}]"


def _legend(evaluation: Evaluation) -> str:
    block = evaluation.block_sessions
    drawn = "sessions" if block == 1 else f"blocks of {block} sessions"
    return (
        f"Out of sample, returns over {evaluation.horizon} minutes. In brackets 95 % intervals "
        f"from {evaluation.draws:,} draws of {drawn}. Before costs."
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:]), ""])
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        row[0].ljust(widths[0]),
        *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
    ]
    return f"| {' | '.join(cells)} |"
