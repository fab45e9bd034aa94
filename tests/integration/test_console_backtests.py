"""The pages about backtests over a real database and object store, as a browser gets them."""

from __future__ import annotations

import csv
import html
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from recorded_backtests import ABOUT, PAGE, TRADES, a_backtest, a_fold, a_history
from registered_models import add

from alpaca_strategy.backtest.catalogue import CATALOGUE
from alpaca_strategy.backtest.content import Agreement, Figure
from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.console.app import create_app
from alpaca_strategy.jobs import lake
from alpaca_strategy.jobs.backtest_words import COSTS, RULES
from alpaca_strategy.storage.backtest_records import Origin
from alpaca_strategy.storage.database import migrate
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

with warnings.catch_warnings():  # starlette asks for httpx2, which Airflow's client does not take
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient

pytestmark = pytest.mark.integration

ID = "2024-01-03-0badf00d"
THIN, NO_BREAK = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
FIGURES = (
    Figure("total_return", 0.03214, 0.0101, 0.0523),
    Figure("sharpe", 1.904, -0.4, 4.1),
    Figure("max_drawdown", -0.0123),
    Figure("annual_return", None),
    Figure("win_rate", 0.5, 0.25, 0.75),
    Figure("profit_factor", float("inf")),
    Figure("break_even_bps", -0.5),
    Figure("final_value", 1_234_567.891),
    Figure("mean_profit", -7.5, -11.0, 2.5),
    Figure("max_drawdown_minutes", 8093.0),
    Figure("trades", 1430.0),
)


@pytest.fixture
def client(home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("ALPACA_STRATEGY_VENUE", "simulator")
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", database_url)
    load_settings.cache_clear()
    services.cache_clear()
    migrate(services().catalog.engine)
    yield TestClient(create_app(), raise_server_exceptions=True)
    services().catalog.engine.dispose()
    services.cache_clear()


@pytest.fixture
def model(client: TestClient) -> str:
    return add(services().registry, "a")


def record(
    model: str, page: bytes = PAGE, about: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Record a backtest; return its id."""
    made = a_backtest(model, **{"figures": FIGURES, "warnings": (), **changes})
    assert services().backtests.record(made, page, **ABOUT | (about or {}))
    return made.id


def words(text: str) -> str:
    """Return what a reader sees of a piece of a page."""
    text = re.sub(r"<[^>]*>", " ", re.sub(r"</?(span|code|a|b)\b[^>]*>", "", text))
    return " ".join(html.unescape(text).replace(THIN, "_").split())


def heading(text: str) -> str:
    (found,) = re.findall(r"<h1>(.*?)</h1>", text, re.DOTALL)
    return words(found)


def row(text: str, *, of: str) -> str:
    """Return the words of the first table row with this text."""
    rows = [words(one) for one in re.findall(r"<tr\b.*?</tr>", text, re.DOTALL)]
    return next(one for one in rows if of in one)


def section(text: str, title: str) -> str:
    return next(part for part in text.split("<h2>") if part.startswith(title))


# ---------------------------------------------------------------- all backtests


@pytest.mark.parametrize("path", ["/backtests", "/backtests/"])
def test_without_backtests_the_page_says_how_to_make_one(client, path):
    text = client.get(path).text
    assert heading(text) == "No backtest has been made yet."
    assert "backtest_report" in text
    assert "alpaca-strategy backtest" in text
    assert "<table" not in text


def test_a_row_tells_what_came_of_a_backtest_how_sure_that_is_and_who_agrees(client, model):
    record(model)
    text = client.get("/backtests/").text
    assert heading(text) == "The strategy gained 3.21 % in 2 sessions, after all costs."
    assert row(text, of=ID) == (
        f"{ID} made 2026-11-24 18:05 EST {model} 2024-01-02 to 2024-01-03 2 sessions "
        "3 of 2 names, score from 0.6, 10 min, 2 bps a side; by a command +3.21 % "
        "+1.90 −0.40 to +4.10 −1.23 % 2 ✓ both engines 0"
    )
    assert f'href="/backtests/{ID}"' in text
    assert f'href="/models/{model}"' in text


def test_what_is_wrong_with_a_backtest_stands_in_its_row(client, model):
    record(
        model, in_sample=True, agreement=Agreement(2, 1, "Trade 2 differs."),
        warnings=("In-sample.", "Only 2 sessions."), figures=(),
    )  # fmt: skip
    told = row(client.get("/backtests/").text, of=ID)
    assert "2 sessions, in sample 3 of 2 names" in told
    assert told.endswith("by a command – – – 2 ✕ agreed on 1 2")


def test_the_newest_come_first_and_of_very_many_a_hundred_are_listed(client, model):
    made = a_backtest(model)
    for i in range(101):
        one = replace(made, id=f"2024-01-03-{i:08x}", made_at=made.made_at + timedelta(days=i))
        services().backtests.record(one, PAGE, **ABOUT)
    text = client.get("/backtests/").text
    listed = re.findall(r'class="name" href="/backtests/2024-01-03-([0-9a-f]{8})"', text)
    assert [int(name, 16) for name in listed] == list(range(100, 0, -1))
    assert "These are the newest 100" in text


def test_walk_forward_names_three_models_and_counts_the_others(client):
    names = [add(services().registry, digit) for digit in "abcd"]
    days = {"first": date(2024, 1, 2), "last": date(2024, 1, 2), "sessions": 1}
    record(names[0], folds=tuple(a_fold(name, **days) for name in names))
    told = row(client.get("/backtests/").text, of=ID)
    assert f"{names[0]} {names[1]} {names[2]} and 1 more" in told


def test_a_models_page_leads_to_its_backtests_and_to_no_others(client, model):
    other = add(services().registry, "b")
    text = client.get(f"/models/{model}").text
    assert f"alpaca-strategy backtest --model {model}" in section(text, "Its backtests")
    record(model)
    text = section(client.get(f"/models/{model}").text, "Its backtests")
    assert f'href="/backtests/{ID}"' in text
    assert model not in row(text, of=ID)
    assert ID not in client.get(f"/models/{other}").text


# ---------------------------------------------------------------- one backtest


@pytest.mark.parametrize(
    ("figure", "changes", "sentence"),
    [
        (Figure("total_return", -0.1), {},
         "The strategy lost 10.00 % in 2 sessions, after all costs."),
        (Figure("total_return", -1.0), {},
         "The strategy lost 100.00 % in 2 sessions, after all costs."),
        (Figure("total_return", 1e-6), {},
         "The strategy neither gained nor lost in 2 sessions, after all costs."),
        (Figure("total_return", None), {}, "The strategy traded in 2 sessions."),
        (Figure("total_return", 0.1), {"in_sample": True},
         "In sample, the strategy gained 10.00 % in 2 sessions, after all costs."),
    ],
)  # fmt: skip
def test_the_heading_and_the_title_state_the_finding(client, model, figure, changes, sentence):
    record(model, figures=(figure,), **changes)
    text = client.get(f"/backtests/{ID}").text
    assert heading(text) == sentence
    assert f"<title>{sentence.rstrip('.')} ·" in text.replace(NO_BREAK, " ")


@pytest.mark.parametrize(
    ("sharpe", "sentence"),
    [
        (Figure("sharpe", 1.904, -0.4, 4.1),
         "lies between −0.40 and +4.10 (95 %): whether it is more than luck is open."),
        (Figure("sharpe", 2.0, 0.5, 3.5),
         "Its Sharpe ratio of +2.00 lies between +0.50 and +3.50 (95 %), and so above zero."),
        (Figure("sharpe", -2.0, -3.5, -0.5),
         "Its Sharpe ratio of −2.00 lies between −3.50 and −0.50 (95 %), and so below zero."),
        (Figure("sharpe", None), "Too few sessions for a Sharpe ratio, so nothing says how sure"),
        (Figure("sharpe", 0.001), "Its Sharpe ratio of 0.00 has no interval, so nothing says"),
    ],
)  # fmt: skip
def test_how_sure_it_is_follows(client, model, sharpe, sentence):
    record(model, figures=(sharpe,))
    assert sentence in words(client.get(f"/backtests/{ID}").text)


def trading(model: str, trades: np.ndarray) -> dict[str, Any]:
    """Return the parts of a backtest that made these trades."""
    run = replace(a_backtest(model).run, trades=trades)
    return {"run": run, "agreement": Agreement(len(trades), len(trades), None)}


def test_no_trades_and_one_trade_are_told_as_they_are(client, model):
    none = record(
        model,
        id="2024-01-03-00000000",
        figures=(Figure("total_return", 0.0),),
        **trading(model, TRADES[:0]),
    )
    text = client.get(f"/backtests/{none}").text
    assert heading(text) == "The strategy made no trade in 2 sessions."
    assert "Two engines agree: neither made a trade." in words(text)
    assert "Sharpe ratio of" not in text
    one = record(model, id="2024-01-03-00000001", **trading(model, TRADES[:1]))
    told = words(client.get(f"/backtests/{one}").text)
    assert "Two engines agree on 1 of 1 trade." in told


def test_a_difference_between_the_engines_comes_before_every_warning(client, model):
    record(
        model,
        agreement=Agreement(2, 1, "Trade 2 of TSLA: 9 and 8."),
        warnings=("Sharpe above 3.", "Few <trades>."),
    )
    text = client.get(f"/backtests/{ID}").text
    notices = re.findall(r'<p class="notice(?: bad)?" role="status">(.*?)</p>', text, re.DOTALL)
    assert [words(one) for one in notices] == [
        "The two engines differ, and agree on 1 of 2 trades only: Trade 2 of TSLA: 9 and 8.",
        "Sharpe above 3.",
        "Few <trades>.",
    ]
    assert text.count('class="notice bad"') == 1
    assert "Few &lt;trades&gt;." in text


def test_the_tiles_show_what_a_backtest_is_summed_up_by(client, model):
    record(model)
    text = client.get(f"/backtests/{ID}").text
    tiles = words(text.split('<dl class="tiles">')[1].split("</dl>")[0])
    assert tiles == (
        "Total return +3.21 % +1.01 % to +5.23 % Annual return – Sharpe ratio +1.90 −0.40 to +4.10 "
        "Maximum drawdown −1.23 % Win rate 50.0 % 25.0 % to 75.0 % Profit factor – "
        "Break-even cost a side −0.50 bps Deflated Sharpe ratio –"
    )


def test_all_figures_stand_in_the_catalogues_order_with_their_units(client, model):
    record(model, figures=(*FIGURES, Figure("of_tomorrow", 0.5)))
    text = section(client.get(f"/backtests/{ID}").text, "All figures")
    told = [words(cell) for cell in re.findall(r'<td class="n">(.*?)</td>', text, re.DOTALL)]
    assert told == [
        "$1_234_567.89", "+3.21 % +1.01 % to +5.23 %", "–", "+1.90 −0.40 to +4.10", "−1.23 %",
        "8_093 min", "1_430", "50.0 % 25.0 % to 75.0 %", "–", "−$7.50 −$11.00 to +$2.50",
        "−0.50 bps", "0.5000",
    ]  # fmt: skip
    assert CATALOGUE["win_rate"].meaning in words(text)
    assert "Of tomorrow" in text


def test_the_figures_shown_are_those_that_are_stored(client, model):
    record(model)
    shown = words(section(client.get(f"/backtests/{ID}").text, "All figures"))
    for metric in services().backtests.metrics(ID):
        if metric.value is not None and metric.name in {"total_return", "win_rate"}:
            assert f"{metric.value * 100:.{CATALOGUE[metric.name].digits}f} %" in shown


def test_folds_lead_to_their_models(client):
    names = [add(services().registry, digit) for digit in "ab"]
    days = ({"last": date(2024, 1, 2)}, {"first": date(2024, 1, 3)})
    folds = [a_fold(n, sessions=1, trades=1200, **d) for n, d in zip(names, days, strict=True)]
    record(names[0], folds=(folds[0], replace(folds[1], sharpe=2.5, total_return=-0.5)))
    text = section(client.get(f"/backtests/{ID}").text, "Who scored which sessions")
    assert row(text, of=names[0]) == (
        f"{names[0]} 2023-12-28 2024-01-02 to 2024-01-02 1 1_200 +1.00 % – +0.0200"
    )
    assert row(text, of=names[1]).endswith(
        "2024-01-03 to 2024-01-03 1 1_200 −50.00 % +2.50 +0.0200"
    )
    assert f'href="/models/{names[1]}"' in text


def test_every_parameter_is_told_in_words(client, model):
    assert set(RULES) == set(Rules._fields)
    assert set(COSTS) == set(Costs._fields)
    rules = Rules(min_score=float("-inf"), top_k=2, keep_chosen=False)
    record(model, rules=rules)
    text = section(client.get(f"/backtests/{ID}").text, "What it was run with")
    told = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert list(told)[:3] == [
        "Minutes between decisions", "Names chosen by a decision", "Least score"]  # fmt: skip
    assert told["Names chosen by a decision"] == "2"
    assert told["Least score"] == "–"  # the rule is off
    assert told["Kept when chosen again"] == "no"
    assert told["FINRA fee a share sold, USD"] == "0.000166"
    assert told["Cash at the beginning"] == f"$100{THIN}000.00"


def test_the_lineage_is_told_whole_and_escaped(client, model):
    lineage = {
        "models": [{"id": model, "sha256": "f00d"}, {"id": "<b>", "trained_until": "2023-12-29"}],
        "lake": {"bars": 412, "notes": ["<x>", "y"]},
        "code": "0.1.0+1a2b3c",
        "whole": True,
        "nothing": None,
    }
    record(model, lineage=lineage, history=a_history(("<script>", "F")))
    text = section(client.get(f"/backtests/{ID}").text, "What it came from")
    told = words(text)
    for fact in (
        "2, 2024-01-02 to 2024-01-03",
        "2: <script>, F",
        "Lake bars 412, notes <x>, y",
        "Whole yes",
        "Nothing –",
        "0.1.0+1a2b3c",
        services().backtests.read(ID).report_sha256,
        "Models: 2",
    ):
        assert fact in told
    assert row(text, of="f00d") == f"{model} f00d –"
    assert row(text, of="2023-12-29") == "<b> – 2023-12-29"
    assert "<script" not in text


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"origin": Origin.NEW_MODEL}, "set off by a new model"),
        ({"origin": Origin.BY_HAND, "made_by": "ann"}, "asked for by hand (ann)"),
        ({}, "by a command"),
    ],
)
def test_who_asked_for_it_is_told(client, model, about, said):
    record(model, about=about)
    eyebrow = client.get(f"/backtests/{ID}").text.split('class="eyebrow"')[1].split("</div>")[0]
    assert words(eyebrow).endswith(f"made 2026-11-24 18:05 EST, {said}")


# ---------------------------------------------------------------- the report and the trades


def test_the_report_is_framed_without_any_right_but_to_run_its_scripts(client, model):
    record(model)
    answer = client.get(f"/backtests/{ID}")
    (frame,) = re.findall(r"<iframe(.*?)>", answer.text, re.DOTALL)
    assert f'src="/backtests/{ID}/report"' in frame
    assert 'sandbox="allow-scripts"' in frame
    assert f'href="/backtests/{ID}/report"' in answer.text
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "frame-src 'self'" in policy
    assert not [part for part in policy if part.startswith("script-src")]


def test_the_report_comes_as_it_was_stored_in_a_sandbox_of_its_own(client, model):
    page = "<!doctype html><script>draw('é')</script>".encode()
    record(model, page)
    answer = client.get(f"/backtests/{ID}/report")
    assert answer.content == page
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "sandbox allow-scripts"  # no origin, no forms, no windows, no downloads
    assert {"default-src 'none'", "frame-ancestors 'self'", "img-src data: blob:"} <= set(policy)


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_damaged_report_is_told_and_everything_else_still_shown(client, model, damage):
    record(model)
    store = services().objects
    (name,) = store.list("backtests")
    if damage == "gone":
        store.delete(name)
    else:
        store.put(name, PAGE + b"<script>evil()</script>")
    answer = client.get(f"/backtests/{ID}/report")
    assert answer.status_code == 404
    said = "is gone" if damage == "gone" else "is not as it was recorded"
    assert f"The report of backtest {ID} {said}" in answer.text
    assert "evil" not in answer.text
    assert client.get(f"/backtests/{ID}").status_code == 200
    assert client.get(f"/backtests/{ID}/trades.csv").status_code == 200


def test_trades_are_handed_out_as_a_table(client, model):
    record(model)
    answer = client.get(f"/backtests/{ID}/trades.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == (
        f'attachment; filename="backtest-{ID}-trades.csv"'
    )
    assert list(csv.DictReader(io.StringIO(answer.text))) == [
        {"position": "1", "symbol": "F", "entered_at": "2024-01-02T14:40:00+00:00",
         "exited_at": "2024-01-02T14:50:00+00:00", "shares": "100.0", "entry_price_usd": "10.5",
         "exit_price_usd": "10.25", "cost_usd": "1.5", "profit_usd": "-26.5",
         "entry_score": "0.75", "exit_reason": "close"},
        {"position": "2", "symbol": "TSLA", "entered_at": "2024-01-02T20:59:00+00:00",
         "exited_at": "2024-01-03T14:30:00+00:00", "shares": "7.5", "entry_price_usd": "200.0",
         "exit_price_usd": "201.0", "cost_usd": "0.25", "profit_usd": "7.25", "entry_score": "",
         "exit_reason": "flatten"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("BRK.B", "BRK.B"),
        ('A",B\n=1', 'A",B\n=1'),  # in quotes, and so one cell
    ],
)
def test_no_cell_of_the_table_is_taken_for_a_formula(client, model, symbol, cell):
    record(model, history=a_history(("TSLA", symbol)))
    answer = client.get(f"/backtests/{ID}/trades.csv")
    first = next(iter(csv.DictReader(io.StringIO(answer.content.decode(), newline=""))))
    assert first["symbol"] == cell
    assert first["profit_usd"] == "-26.5"  # a number stays a number


def test_a_hundred_thousand_trades_are_handed_out(client, model):
    record(model, **trading(model, np.repeat(TRADES[:1], 100_000)))
    answer = client.get(f"/backtests/{ID}/trades.csv")
    assert answer.text.count("\n") == 100_001


# ---------------------------------------------------------------- all of them


def test_pages_of_ours_load_nothing_and_run_nothing(client, model):
    record(model)
    for path in ("/backtests/", f"/backtests/{ID}"):
        answer = client.get(path)
        assert "<script" not in answer.text
        assert "http" not in answer.text
        assert "url(" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        shown = words(answer.text.split("<main>")[1])
        assert re.findall(r"\b(nan|NaN|inf|None)\b", shown) == []


@pytest.mark.parametrize("ending", ["", "/report", "/trades.csv"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("2026-11-21-1a2b3c4d", "There is no backtest 2026-11-21-1a2b3c4d"),
        ("newest", "There is no such page"),
        ("2026-11-21-1a2b3c4d%00", "There is no such page"),
        ("%3Cscript%3E", "There is no such page"),
    ],
)
def test_a_backtest_that_is_not_there_is_said_in_a_sentence(client, name, ending, sentence):
    answer = client.get(f"/backtests/{name}{ending}")
    assert answer.status_code == 404
    assert sentence in answer.text
    assert "<script" not in answer.text


def test_links_stay_below_the_prefix_that_the_console_is_mounted_under(client, model):
    record(model)
    outside = FastAPI(root_path="/airflow")
    outside.mount("/alpaca", client.app)
    for path in ("/backtests/", f"/backtests/{ID}", f"/models/{model}"):
        text = TestClient(outside).get(f"/airflow/alpaca{path}").text
        links = re.findall(r'(?:href|src)="([^"]*)"', text)
        assert len(links) > 4
        assert all(link.startswith("/airflow/alpaca/") for link in links)


def test_without_a_database_there_is_a_page_and_no_traceback(home, monkeypatch):
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", "postgresql://u@127.0.0.1:1/none")
    load_settings.cache_clear()
    services.cache_clear()
    answer = TestClient(create_app()).get(f"/backtests/{ID}")
    services.cache_clear()
    assert answer.status_code == 503
    assert "Postgres at 127.0.0.1:1/none does not answer" in answer.text


def test_the_weekly_maintenance_deletes_reports_of_no_backtest_and_no_other(client, model):
    record(model)
    services().objects.put("backtests/2024-01-03-11111111-f00d.html", b"of a run that was killed")
    assert lake.maintain().endswith("1 reports of no backtest deleted.")
    assert client.get(f"/backtests/{ID}/report").content == PAGE
