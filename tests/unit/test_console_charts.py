"""Marks lie where their figures are, at any width, and words say the same."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.console.charts import plot_of, scale_of
from alpaca_strategy.console.pages import plain, render, setting, signed, tick, whole_names
from alpaca_strategy.jobs.model_figures import Figure, Figures, Part, Side
from alpaca_strategy.storage.registry_records import Metric

values = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


def test_an_axis_has_round_ends_and_holds_zero() -> None:
    scale = scale_of([Figure(0.021, 0.012, 0.034), Figure(-0.004)])
    assert scale is not None
    assert scale.ticks == (-0.01, 0.0, 0.01, 0.02, 0.03, 0.04)
    assert [scale.at(x) for x in (-0.01, 0.0, 0.015, 0.04)] == [0.0, 20.0, 50.0, 100.0]
    assert scale.marks == (-0.01, 0.04)  # at a fifth, the name of zero would touch the other


def test_zero_is_named_between_the_ends_where_there_is_room() -> None:
    scale = scale_of([Figure(0.0, -0.02, 0.04)])
    assert scale is not None
    assert scale.marks == (-0.02, 0.0, 0.04)


def test_without_a_figure_there_is_no_axis_and_no_chart() -> None:
    assert scale_of([]) is None
    assert scale_of([Figure(), Figure(None, -1, 1)]) is None
    assert plot_of([]) is None
    assert plot_of([Part("9", Figure())], Figure(0.1)) is None


def test_figures_that_are_all_zero_lie_in_the_middle() -> None:
    scale = scale_of([Figure(0.0)])
    assert scale is not None
    assert scale.at(0.0) == 50.0


@given(st.lists(st.tuples(values, values, values).map(sorted), min_size=1, max_size=20))
def test_every_mark_lies_on_the_axis_in_order(figures: list[list[float]]) -> None:
    scale = scale_of([Figure(value, low, high) for low, value, high in figures])
    assert scale is not None
    assert scale.low <= 0 <= scale.high
    for one in figures:
        places = [scale.at(x) for x in one]
        assert places == sorted(places)
        assert places[0] >= 0
        assert places[-1] <= 100
    gaps = [b - a for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert 1 <= len(gaps) <= 7
    assert max(gaps) == pytest.approx(min(gaps))
    assert len({tick(x, scale.digits) for x in scale.ticks}) == len(scale.ticks)


def test_columns_share_the_width_and_long_labels_are_thinned_out() -> None:
    days = [Part(f"2026-10-{day:02}", Figure(day / 100)) for day in range(1, 22)]
    chart = plot_of(days, Figure(0.5, 0.4, 0.6), dates=True)
    assert chart is not None
    assert chart.scale.high >= 0.6
    assert chart.columns[0].at == pytest.approx(100 / 42, abs=0.01)
    assert chart.columns[20].at == pytest.approx(100 - 100 / 42, abs=0.01)
    assert [c.label for c in chart.columns if c.label] == [
        "Oct 1", "Oct 6", "Oct 11", "Oct 16", "Oct 21"]  # fmt: skip
    hours = plot_of([Part(str(hour), Figure(0.1)) for hour in range(9, 16)])
    assert hours is not None
    assert [c.label for c in hours.columns] == ["9", "10", "11", "12", "13", "14", "15"]


@pytest.mark.parametrize(
    ("figure", "side"),
    [
        (Figure(0.02, 0.01, 0.03), Side.ABOVE),
        (Figure(-0.02, -0.03, -0.01), Side.BELOW),
        (Figure(0.02, -0.01, 0.05), Side.OPEN),
        (Figure(0.02, 0.0, 0.05), Side.OPEN),
        (Figure(0.02), Side.OPEN),
        (Figure(), Side.OPEN),
    ],
)
def test_a_figure_lies_beside_zero_only_with_its_whole_interval(figure: Figure, side: Side) -> None:
    assert figure.side is side


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.03124, 4, "+0.0312"),
        (-0.03124, 4, "−0.0312"),
        (-0.00001, 4, "0.0000"),
        (0.00001, 4, "0.0000"),
        (None, 4, "–"),
        (12.0, 0, "+12"),
    ],
)
def test_a_signed_figure_is_written_with_a_true_minus_and_no_signed_zero(
    value: float | None, digits: int, text: str
) -> None:
    assert signed(value, digits) == text


def test_settings_and_plain_figures_are_written_as_words() -> None:
    assert [setting(x) for x in (True, False, None, 0, 35, 1e-3)] == [
        "yes", "no", "–", "0", "35", "0.001"]  # fmt: skip
    assert plain(0.5, 3) == "0.500"


def test_names_of_models_never_break_and_what_surrounds_them_is_escaped() -> None:
    assert whole_names("<i> 2026-11-21-1a2b3c4d & 2026-11-21") == (
        '&lt;i&gt; <span class="nowrap">2026-11-21-1a2b3c4d</span> &amp; 2026-11-21'
    )


def test_a_page_that_belongs_nowhere_marks_no_room() -> None:
    text = render("error.html", base="/alpaca", title="Gone", sentence="Nothing here.")
    assert 'href="/alpaca/models/"' in text
    assert "aria-current=" not in text


def test_parts_stand_in_their_own_order_or_the_best_first() -> None:
    def metric(of: str, value: float, name: str = "ic") -> Metric:
        return Metric(name, value, n=3, slice=of)

    figures = Figures(
        [
            *(metric(f"hour {hour}", 0.01) for hour in (10, 15, 9)),
            *(metric(f"horizon {minutes}", 0.01) for minutes in (1, 20, 5)),
            *(metric(f"symbol {s}", x) for s, x in (("A", 0.1), ("B", math.nan), ("C", 0.3))),
            metric("symbol Z", 0.9, name="rank_ic"),
            metric("all", 0.02),
        ]
    )
    assert [part.label for part in figures.parts("ic", "hour")] == ["9", "10", "15"]
    assert [part.label for part in figures.parts("ic", "symbol")] == ["C", "A", "B"]
    decay = figures.decay(10)
    assert [part.label for part in decay] == ["1", "5", "10", "20"]
    assert decay[2].figure.value == 0.02
    assert figures.parts("ic", "sector") == ()
    assert figures.get("ic", "symbol B").value is None
    assert Figures([metric("all", 0.02)]).decay(10) == ()
