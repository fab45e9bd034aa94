"""The report shows what the run left, whatever it left, and runs nothing that came from outside."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from reported_backtests import CASH, make_backtest, make_history

from alpaca_strategy.backtest.catalogue import CATALOGUE
from alpaca_strategy.backtest.content import Agreement, Backtest, Figure
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.report.page import MOST_BYTES, content_policy, render
from alpaca_strategy.backtest.report.palette import (
    DARK,
    DARK_SCALES,
    LIGHT,
    LIGHT_SCALES,
    palettes,
)
from alpaca_strategy.backtest.report.replay import decisions
from alpaca_strategy.backtest.report.signal import by_tenth
from alpaca_strategy.backtest.report.trades import MOST_TRADES
from alpaca_strategy.backtest.report.view import shares_at, view_of
from alpaca_strategy.backtest.report.words import (
    bps,
    clipped,
    counted,
    figure_text,
    label,
    labels,
    number,
    percent,
    plain,
    usd,
)
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import Rules

THREE = ("AAA", "BBB", "CCC")
NASTY = (
    "<script>alert(1)</script>", '=HYPERLINK("http://x","y")', '"><img src=x onerror=alert(2)>',
    "$a$ </script><b>", "@blue", "A" * 60, "A" * 61, "2024-01-01", "\u2028\u202e\ud800",
)  # fmt: skip
FREE = Rules(trend=False, momentum=False, min_rsi=0.0)
SECTIONS = [
    "equity", "returns", "risk", "trades", "allocation", "costs", "signal", "robustness",
    "decisions", "lineage",
]  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, attributes, and the text that a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.words.append(data)
        elif self.inside[-1] == "script":
            self.scripts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def read(backtest: Backtest) -> Reader:
    reader = Reader()
    reader.feed(render(backtest).decode())
    return reader


def one_trade() -> Backtest:
    history = make_history(2, THREE)
    history.scores[:] = np.nan
    history.scores[39, 0] = 0.9
    return make_backtest(history, rules=FREE)


def without_prices() -> Backtest:
    history = make_history(3, THREE)
    for panel in (history.open, history.high, history.low, history.close):
        panel[:] = np.nan
    history.volume[:] = 0.0
    return make_backtest(history)


def split_overnight() -> Backtest:
    """Return a run that holds overnight, through a half-day, a split and thin volume."""
    history = make_history(12, THREE, first=date(2024, 6, 27), quiet=0.2)
    history.split_factor[6, 1] = 4.0
    for panel in (history.open, history.high, history.low, history.close):
        panel[history.first_row[6] :, 1] /= 4.0
    history.volume[:] = np.round(history.volume / 20)
    return make_backtest(history, rules=FREE._replace(flat_minutes=0, hold=300, interval=30))


def hostile() -> Backtest:
    """Return a backtest in which everything that comes from outside tries to be markup."""
    made = make_backtest(make_history(70, NASTY, first=date(2023, 11, 1), skill=0.3))
    return replace(
        made,
        in_sample=True,
        simulated=False,
        agreement=Agreement(len(made.run.trades), 3, "trade 4: <script>alert(3)</script>"),
        warnings=("<b onclick=alert(4)>In sample</b>",),
        sectors={name: f"</script><script>alert({i % 3})" for i, name in enumerate(NASTY)},
        lineage={"<img src=x onerror=alert(5)>": {"a": "</script><script>alert(6)</script>"}},
        folds=tuple(replace(fold, model="<i>=1+1</i>") for fold in made.folds),
    )


CASES = {
    "a month": lambda: make_backtest(make_history(21, first=date(2024, 6, 18), skill=0.25)),
    "no trade": lambda: make_backtest(make_history(21, THREE), rules=Rules(min_score=2.0)),
    "one trade": one_trade,
    "one session": lambda: make_backtest(make_history(1, THREE)),
    "one symbol": lambda: make_backtest(make_history(5, ("AAA",)), rules=FREE),
    "no prices": without_prices,
    "split overnight": split_overnight,
    "bankrupt": lambda: make_backtest(
        make_history(25, THREE), costs=Costs(half_spread_bps=300.0, slippage_bps=200.0),
        rules=Rules(whole_shares=False), grid=False,
    ),
    "nothing but the run": lambda: make_backtest(
        make_history(3, THREE), figures=(), folds=(), ladder=(), grid=(), decay={}, sectors={},
        lineage={}, warnings=(), returns=np.full((1170, 3), np.nan),
    ),
    "hostile names": hostile,
}  # fmt: skip
_made: dict[str, Backtest] = {}


def case(name: str) -> Backtest:
    """Return a backtest, made once."""
    if name not in _made:
        _made[name] = CASES[name]()
    return _made[name]


every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_it_has_all_sections_in_order_and_no_figure_that_is_none(name: str) -> None:
    page = read(case(name))
    found = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert found == SECTIONS
    ranks = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert ranks[0] == 1
    assert ranks.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(ranks))
    assert not re.search(r"\b(nan|None|inf|NaN)\b", page.text)


@every_case
def test_plotly_knows_all_that_it_is_asked_to_draw(name: str) -> None:
    colours = palettes()["light"]

    def painted(value: Any, key: str = "") -> Any:
        if isinstance(value, str) and value.startswith("@") and "color" in key:
            return colours[value[1:]]
        if isinstance(value, list):
            return [painted(item, key) for item in value]
        if isinstance(value, dict):
            return {k: painted(v, k) for k, v in value.items()}
        return value

    for chart in read(case(name)).data["charts"].values():
        go.Figure(data=painted(chart["traces"]), layout=painted(chart["layout"]))  # raises
        assert all(set(choice) <= set(range(len(chart["traces"]))) for choice in chart["choices"])


@every_case
def test_every_chart_on_the_page_has_data_and_says_in_words_what_it_shows(name: str) -> None:
    page = read(case(name))
    plots = [attrs for _, attrs in page.tags if "data-chart" in attrs]
    assert [attrs["data-chart"] for attrs in plots] == list(page.data["charts"])
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in plots)


def test_where_there_is_nothing_to_show_it_says_so() -> None:
    page = read(case("no trade"))
    assert page.text.startswith("Backtest 2024-01-31-0badf00d")
    assert "Nothing was traded in 21\u00a0sessions".replace("\u00a0", " ") in page.text
    assert page.text.count("There is nothing to show") >= 10
    assert set(page.data["charts"]) == {"equity", "correlation", "decay", "tenths"}


# ------------------------------------------------------------------------------ names from outside


def test_nothing_from_outside_becomes_markup() -> None:
    page = read(case("hostile names"))
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3
    assert not {"b", "i", "img", "iframe", "object", "form", "link"} & {t for t, _ in page.tags}
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    for name in NASTY[:4]:
        assert name in page.data["symbols"]
    for said in ("<script>alert(3)</script>", "<b onclick=alert(4)>In sample</b>", "<i>=1+1</i>",
                 "<img src=x onerror=alert(5)>", "</script><script>alert(6)</script>"):  # fmt: skip
        assert said in page.text


def test_plotly_finds_no_markup_in_names() -> None:
    def strings(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        parts = value.values() if isinstance(value, dict) else value
        return (
            [s for part in parts for s in strings(part)] if isinstance(value, dict | list) else []
        )

    charts = read(case("hostile names")).data["charts"]
    shown = [text for chart in charts.values() for text in strings(chart)]
    assert any("&lt;script&gt;alert(1)" in text for text in shown)
    assert {tag for text in shown for tag in re.findall(r"<[^>]*>?", text)} <= {
        "<br>", "<extra>", "</extra>",
    }  # fmt: skip
    # Two dollars would be taken for a formula; those of number formats are Plotly's own.
    assert not [text for text in shown if text.count("$") > 1 and "%{" not in text]


def test_the_data_end_no_script() -> None:
    raw = render(case("hostile names")).decode()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', raw, re.DOTALL)
    assert data is not None
    assert not set("<>&\u2028\u2029") & set(data.group(1))
    assert json.loads(data.group(1))["symbols"][:8] == list(NASTY[:8])


def test_names_on_an_axis_stay_apart() -> None:
    assert labels(["A" * 60, "A" * 61, "<b>", "2024-01-01"], 10) == [
        "AAAAAAAAA…", "AAAAAAAAA… (2)", "&lt;b&gt;", "2024-01-01",
    ]  # fmt: skip
    assert label("$x$ & y") == "&#36;x&#36; &amp; y"
    assert clipped("a\u202eb\ud800c") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


# ------------------------------------------------------------------------------------------- policy


def test_the_policy_names_the_scripts_of_the_page_and_no_others() -> None:
    page = read(case("a month"))
    policy = next(attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs)
    assert policy == content_policy()
    own = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in page.scripts[1:]
    ]
    assert policy == (
        f"default-src 'none'; script-src {own[0]} {own[1]}; style-src 'unsafe-inline'; "
        "img-src data: blob:"
    )


def test_the_page_refers_to_nothing_outside_itself() -> None:
    raw = render(case("a month")).decode()
    page = Reader()
    page.feed(raw)
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in {"src", "href"}]
    assert [link for link in links if not link or link[0] != "#"] == []
    assert [link[1:] for link in links if link] == SECTIONS
    style = raw[raw.index("<style>") : raw.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|localStorage)\b", page.scripts[1])


def test_what_a_page_holds_is_decided_by_its_backtest_alone() -> None:
    assert render(case("a month")) == render(case("a month"))


# ------------------------------------------------------------------------------------------ figures


def test_tiles_and_table_show_the_figures_that_were_given() -> None:
    figures = tuple(Figure(name, None) for name in CATALOGUE)
    given = {
        "total_return": Figure("total_return", -0.123456, -0.2, 0.015),
        "sharpe": Figure("sharpe", -1.005, -3.5, 1.25),
        "trades": Figure("trades", 1204.0),
        "break_even_bps": Figure("break_even_bps", 2.346),
        "max_drawdown_minutes": Figure("max_drawdown_minutes", 97_201.0),
        "max_drawdown": Figure("max_drawdown", -0.0999),
        "mean_profit": Figure("mean_profit", -4.0627),
        "final_value": Figure("final_value", 87_654.321),
    }
    figures = tuple(given.get(figure.name, figure) for figure in figures)
    page = read(replace(case("one session"), figures=figures))
    tiles = page.text.partition("Two engines agree")[0].replace("\u00a0", " ")
    assert "Total return −12.35 % −20.00 % to 1.50 %" in tiles
    assert "Sharpe ratio −1.00 −3.50 to 1.25" in tiles
    assert "Maximum drawdown −9.99 % its length 97,201 min (249 sessions)" in tiles
    assert "Trades 1,204 Win rate –" in tiles
    assert "Break-even cost a side 2.35 bps" in tiles
    table = page.text.partition("Every figure")[2].replace("\u00a0", " ")
    assert "Final value $87,654.32" in table
    assert "Mean profit −$4.06" in table


@pytest.mark.parametrize("name", ["a month", "split overnight", "bankrupt"])
def test_every_figure_of_the_run_is_on_the_page(name: str) -> None:
    backtest = case(name)
    text = read(backtest).text.partition("Every figure")[2].replace("\u00a0", " ")
    for figure in backtest.figures:
        value = figure_text(figure.name, figure.value).replace("\u00a0", " ")
        assert f"{CATALOGUE[figure.name].title} {value}" in text


def test_curves_end_where_the_run_ended() -> None:
    backtest = case("a month")
    chart = read(backtest).data["charts"]["equity"]
    lines = {trace["name"]: trace["y"] for trace in chart["traces"]}
    assert lines["Strategy"][-1] == pytest.approx(backtest.run.equity[-1] / CASH - 1, abs=1e-5)
    gross, market = backtest.figure("gross_return").value, backtest.figure("benchmark_return").value
    assert lines["Strategy without costs"][-1] == pytest.approx(gross, abs=1e-5)
    assert lines["Equal-weighted universe"][-1] == pytest.approx(market, abs=1e-5)
    assert min(lines["Drawdown"]) == pytest.approx(
        backtest.figure("max_drawdown").value, abs=1e-5
    )  # though only every tenth minute is shown


def test_a_point_is_shown_every_ten_minutes_and_at_each_close() -> None:
    curve = read(case("a month")).data["curve"]
    history = case("a month").history
    half = history.sessions.index(date(2024, 7, 3))
    shown = pd.Series(curve["minute"]).groupby(curve["session"]).agg(list)
    assert shown[0] == list(range(10, 391, 10))
    assert shown[half] == list(range(10, 211, 10))


def test_months_compound_to_their_years() -> None:
    backtest = make_backtest(make_history(70, THREE, first=date(2023, 11, 15)), grid=False)
    ends = backtest.run.equity[backtest.history.first_row[1:] - 1]
    days = pd.DatetimeIndex([date(2023, 11, 14), *backtest.history.sessions])
    level = pd.Series([CASH, *ends], days)
    monthly, yearly = (level.resample(unit).last() for unit in ("ME", "YE"))
    months, years = (ends / ends.shift(fill_value=CASH) - 1 for ends in (monthly, yearly))
    shown = [number(value * 100, 2, plus=True) for value in (*months, *years)]
    assert len(shown) == 4 + 2
    rows = f"2023 {shown[0]} {shown[1]} {shown[4]} 2024 {shown[2]} {shown[3]} {shown[5]}"
    assert f"Nov Dec Year {rows} " in read(backtest).text


@every_case
def test_positions_follow_from_executions_to_the_cent(name: str) -> None:
    view = view_of(case(name))
    invested = view.backtest.run.invested[view.shown]
    assert view.holdings.sum(axis=1) == pytest.approx(invested, abs=0.005)


def test_all_trades_are_listed_as_they_happened() -> None:
    backtest = case("a month")
    listed = read(backtest).data["trades"]
    trades = backtest.run.trades
    assert listed["symbol"] == trades["symbol"].tolist()
    assert listed["entry_row"] == trades["entry_row"].tolist()
    assert listed["profit"] == pytest.approx(trades["profit"].tolist(), abs=0.005)
    paid = trades["shares"] * trades["entry_price"]
    assert listed["bps"] == pytest.approx((trades["profit"] / paid * 1e4).tolist(), abs=0.05)


def test_the_costs_shown_add_up() -> None:
    backtest = case("a month")
    bars = read(backtest).data["charts"]["waterfall"]["traces"][0]
    fees, impact = (float(backtest.run.fills[name].sum()) for name in ("fee", "impact"))
    profit = backtest.run.equity[-1] - CASH
    assert bars["y"] == pytest.approx([profit + fees + impact, impact, fees, profit], abs=0.01)
    assert f"it breaks even at {bps(backtest.figure('break_even_bps').value, 2)} a side" in (
        " ".join(read(backtest).words)
    )


def test_tenths_of_scores_are_those_of_pandas() -> None:
    rng = np.random.default_rng(5)
    scores, returns = rng.random((40, 30)), rng.standard_normal((40, 30))
    scores[rng.random((40, 30)) < 0.2] = np.nan
    scores[3] = np.nan
    returns[rng.random((40, 30)) < 0.1] = np.nan
    for row, found in enumerate(by_tenth(scores, returns)):
        frame = pd.DataFrame({"score": scores[row], "gain": returns[row]}).dropna()
        place = (frame["score"].rank(method="first") - 0.5) / len(frame) * 10
        frame["tenth"] = np.floor(place.clip(upper=9.5))
        beyond = (frame["gain"] - frame["gain"].mean()).groupby(frame["tenth"]).mean()
        wanted = beyond.reindex(range(10)).to_numpy(dtype=float)
        np.testing.assert_allclose(found, wanted, atol=1e-12)


# ------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("name", ["a month", "split overnight", "one trade", "hostile names"])
def test_decided_again_every_execution_follows_from_a_decision(name: str) -> None:
    backtest = case(name)
    history, run = backtest.history, backtest.run
    bought = sold = 0
    for session in range(len(history.sessions)):
        begin, end = history.first_row[session : session + 2]
        decided, leaving = decisions(backtest, session), set()
        fills = run.fills[(run.fills["row"] >= begin) & (run.fills["row"] < end)]
        rows = sorted(decided)
        for fill in fills:
            last = max(row for row in rows if row < fill["row"])
            for row in rows:
                if row < fill["row"]:
                    reasons = decided[row].reasons
                    leaving |= {int(s) for s in np.flatnonzero(np.isin(reasons, [4, 5]))}
            if fill["shares"] > 0:
                bought += 1
                assert fill["symbol"] in decided[last].buys
                assert decided[last].reasons[fill["symbol"]] == Reason.BUY
            else:
                sold += 1
                assert fill["symbol"] in leaving
    assert bought == np.sum(run.fills["shares"] > 0)
    assert bought + sold == len(run.fills)


@pytest.mark.parametrize("name", ["a month", "split overnight"])
def test_decided_again_every_trade_ends_for_the_reason_that_it_ended_for(name: str) -> None:
    backtest = case(name)
    history = backtest.history
    session = history.session_of_row
    for trade in backtest.run.trades:
        decided = decisions(backtest, int(session[trade["exit_row"]]))
        sales = [
            int(d.reasons[trade["symbol"]])
            for row, d in decided.items()
            if row < trade["exit_row"] and Reason(int(d.reasons[trade["symbol"]])).sells
        ]
        assert sales[-1] == trade["exit_reason"]
        if name == "a month" and trade["exit_row"] > history.first_row[3]:
            break


def test_a_replay_shows_the_bars_the_executions_and_the_choice() -> None:
    backtest = case("a month")
    best = max(backtest.run.trades, key=lambda t: t["profit"] / (t["shares"] * t["entry_price"]))
    page = read(backtest)
    chart = page.data["charts"]["replay-0"]
    marks = {trace["name"]: trace for trace in chart["traces"]}
    fills = backtest.run.fills
    own = fills[
        (fills["symbol"] == best["symbol"])
        & (fills["row"] >= best["entry_row"])
        & (fills["row"] <= best["exit_row"])
    ]
    assert marks["Bought"]["y"] == pytest.approx(own["price"][own["shares"] > 0].tolist(), abs=1e-4)
    assert marks["Sold"]["y"] == pytest.approx(own["price"][own["shares"] < 0].tolist(), abs=1e-4)
    row = int(best["entry_row"])
    begin = int(backtest.history.first_row[backtest.history.session_of_row[row]])
    minutes = int(best["exit_row"]) + 15 - begin
    last = 570 + min(minutes, 389)
    assert marks["Price"]["x"][-1] == f"{last // 60:02}:{last % 60:02}"
    symbol = backtest.history.symbols[best["symbol"]]
    assert re.search(rf"{symbol} 0\.\d{{3}} bought", page.text.partition("bar by bar")[2])


def test_few_trades_are_all_replayed() -> None:
    assert [n for n in read(case("one trade")).data["charts"] if n.startswith("replay")] == [
        "replay-0"
    ]
    month = read(case("a month")).data["charts"]
    assert len([n for n in month if n.startswith("replay")]) == 6


# ------------------------------------------------------------------------------- what must be said


def test_an_in_sample_run_is_watermarked_and_a_clean_one_is_not() -> None:
    marked = read(case("hostile names"))
    assert [attrs for _, attrs in marked.tags if attrs.get("class") == "watermark"]
    clean = read(case("a month"))
    assert not [attrs for _, attrs in clean.tags if attrs.get("class") == "watermark"]


def test_it_says_whether_two_engines_agree() -> None:
    month = case("a month")
    count = len(month.run.trades)
    text = read(month).text
    assert f"Two engines agree on {count:,} of {count:,} trades: to the share" in text
    differing = replace(month, agreement=Agreement(count, count - 1, "trade 7: 12 shares, not 13"))
    text = read(differing).text
    assert text.startswith("Backtest 2024-07-18-0badf00d Engines disagree")
    assert f"agree on {count - 1:,} of {count:,} trades only" in text
    assert "The first difference: trade 7: 12 shares, not 13" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no trade", "Nothing was traded in 21 sessions"),
        ("bankrupt", "It lost everything within 17 sessions of 25 sessions"),
        ("one session", "that is too little to tell skill from chance"),
        ("a month", "It earned 6.80 % in 21 sessions after costs; a Sharpe ratio of"),
    ],
)
def test_the_headline_says_what_came_of_it(name: str, said: str) -> None:
    assert said in read(case(name)).text


def test_simulated_and_real_prices_are_told_apart() -> None:
    month = case("one session")
    assert "Prices are the simulator's" in read(month).text
    real = read(replace(month, simulated=False)).text
    assert "Real prices" in real
    assert "IEX alone sees a few percent of the volume" in real
    assert "simulator" not in real


def test_what_was_assumed_follows_from_the_settings() -> None:
    costs = Costs(half_spread_bps=0.5, slippage_bps=3.0, participation=0.0, commission_bps=1.0)
    text = read(replace(case("one session"), costs=costs, rules=Rules(flat_minutes=0))).text
    assert "0.5 bps of half the spread and 3.0 bps of slippage" in text
    assert "1.00 bps and $0.0000 a share of commission" in text
    assert "the volume of a minute is not looked at" in text
    assert "Positions are held overnight" in text


# ------------------------------------------------------------------------------- words and colours


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (percent(0.034567), "3.46 %"),
        (percent(-0.1), "−10.0 %"),
        (percent(0.9994), "99.9 %"),
        (percent(12.5), "1,250 %"),
        (percent(-0.00001), "0.00 %"),
        (percent(None), "–"),
        (percent(float("nan")), "–"),
        (number(float("inf")), "∞"),
        (usd(-1234.5, 2), "−$1,234.50"),
        (usd(0.0, plus=True), "$0"),
        (bps(2.25, plus=True), "+2.2 bps"),
        (counted(1, "trade"), "1 trade"),
        (counted(1204, "trade"), "1,204 trades"),
        (figure_text("mean_minutes_held", 11.96), "12.0 min"),
        (figure_text("win_rate", 0.48), "48.0 %"),
    ],
)
def test_numbers_are_shown_as_people_read_them(shown: str, wanted: str) -> None:
    assert shown.replace("\u00a0", " ") == wanted


def test_numbers_for_charts_are_short_and_none_where_there_is_none() -> None:
    assert plain([1.0, np.nan, 2.34567, -np.inf], 2) == [1, None, 2.35, None]
    assert plain([], 2) == []


def lightness(colour: str) -> float:
    """Return relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    shades = sorted((lightness(one), lightness(other)))
    return (shades[1] + 0.05) / (shades[0] + 0.05)


@pytest.mark.parametrize(("colours", "scales"), [(LIGHT, LIGHT_SCALES), (DARK, DARK_SCALES)])
def test_words_and_lines_stand_out(colours: dict[str, str], scales: dict[str, Any]) -> None:
    for words in ("text", "quiet", "blue", "bad", "warn"):
        assert contrast(colours[words], colours["page"]) >= 4.5
    for panel in ("panel", "bad-panel", "warn-panel", "wash"):
        assert contrast(colours["text"], colours[panel]) >= 4.5
    for shade in scales["soft"]:
        assert contrast(colours["text"], shade) >= 4.5
    for i in range(8):
        assert contrast(colours[f"series-{i}"], colours["page"]) >= 3
    shades = [lightness(shade) for shade in scales["rising"]]
    assert shades in (sorted(shades), sorted(shades, reverse=True))


# --------------------------------------------------------------------------------------------- size


def many_trades() -> tuple[History, Rules]:
    rules = FREE._replace(interval=2, hold=2, top_k=6, slots=6, min_score=0.0, cooldown=0)
    return make_history(252), rules


def test_a_year_of_minutes_with_more_trades_than_fit_stays_below_the_limit() -> None:
    history, rules = many_trades()
    backtest = make_backtest(history, rules=rules, grid=False)
    assert len(backtest.run.trades) > MOST_TRADES
    raw = render(backtest)
    assert len(raw) <= MOST_BYTES
    page = Reader()
    page.feed(raw.decode())
    assert len(page.data["trades"]["symbol"]) == MOST_TRADES
    assert f"Shown are the {MOST_TRADES:,} of {len(backtest.run.trades):,}" in page.text
    least = min(abs(profit) for profit in page.data["trades"]["profit"])
    larger = np.sum(np.abs(backtest.run.trades["profit"]) > least + 0.01)
    assert larger <= MOST_TRADES
    assert len(page.data["curve"]["minute"]) < 11_000


def test_shares_are_stated_in_those_of_their_own_day() -> None:
    backtest = case("split overnight")
    history, fills = backtest.history, backtest.run.fills
    held = shares_at(backtest, np.arange(len(history.close)))
    shares = np.zeros(3)
    for row, session in enumerate(history.session_of_row):
        if row == history.first_row[session]:
            shares *= history.split_factor[session]
        for fill in fills[fills["row"] == row]:
            shares[fill["symbol"]] += fill["shares"]
        assert held[row] == pytest.approx(shares, abs=1e-6)
    assert shares_at(backtest, np.array([history.first_row[6]]))[0, 1] % 4 == 0
