"""The pages about models over a real registry, as a browser gets them."""

from __future__ import annotations

import hashlib
import html
import math
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.console.app import create_app
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import VerdictKind, VersionStatus
from alpaca_strategy.jobs.model_pages import models_page
from alpaca_strategy.storage.database import migrate
from alpaca_strategy.storage.registry import Registry
from alpaca_strategy.storage.registry_records import (
    DataPin,
    Decision,
    Metric,
    ModelVersion,
    new_version_id,
)

with warnings.catch_warnings():  # starlette asks for httpx2, which Airflow's client does not take
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
DAYS = tuple(date(2026, 10, day) for day in (1, 2, 5, 6, 7, 8, 9, 12))
TRAINING, VALIDATION, EMBARGO, HOLDOUT = DAYS[:3], DAYS[3:5], DAYS[5], DAYS[6:]
FIRST = "Serves provisionally as the first model: rank IC +0.0312."
BETTER = "Promoted, better than the champion: difference +0.0107."
RANK_IC = Metric("rank_ic", 0.03124, 0.0101, 0.0523, 78)


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


def registry() -> Registry:
    return services().registry


def register(
    name: str = "a", metrics: tuple[Metric, ...] = (RANK_IC,), *, made: datetime = NOW, **other: Any
) -> str:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    values: dict[str, Any] = {
        "id": new_version_id(made, sha256),
        "created_at": made,
        "venue": Venue.SIMULATOR,
        "feed": Feed.IEX,
        "preset": "cpu",
        "fingerprint": "f00d" * 16,
        "seed": 7,
        "code_version": "0.1.0+1a2b3c4d5e6f",
        "config": {"plan": {}, "epochs": 14, "gate": {"ask_person": False, "expiry_days": 35}},
        "environment": {"torch": "2.13.0", "device": "cpu"},
        "dataset_hash": "beef" * 16,
        "horizon": 10,
        "symbols": ("TSLA", "F"),
        "training": TRAINING,
        "validation": VALIDATION,
        "holdout": HOLDOUT,
        "artifact_uri": "file:///srv/models/last.ckpt",
        "artifact_sha256": sha256,
        "expires_at": made + timedelta(days=35, hours=1),
    }
    version = ModelVersion(**{**values, **other})
    pins = [DataPin(day, 3, f"hash-of-{day}", 41, ("b.parquet",)) for day in DAYS]
    return registry().register(version, metrics, pins)[0]


def promote(model: str, **decision: Any) -> None:
    """Put a model into service as the gate does."""
    champion = registry().champion(Venue.SIMULATOR, Feed.IEX)
    first = Decision(model, None, VerdictKind.PROVISIONAL, FIRST)
    better = {"difference": 0.0107, "low": 0.0031, "high": 0.0183, **decision}
    second = Decision(
        model, champion.version if champion else None, VerdictKind.PROMOTE, BETTER, **better
    )
    registry().decide(second if champion else first)


def heading(text: str) -> str:
    """Return the words of a page's first heading."""
    (found,) = re.findall(r"<h1>(.*?)</h1>", text, re.DOTALL)
    return words(found)


def words(text: str) -> str:
    """Return what a reader sees of a piece of a page."""
    text = re.sub(r"<[^>]*>", " ", re.sub(r"</?(span|code|a)\b[^>]*>", "", text))
    return " ".join(html.unescape(text).split())


def row(text: str, *, of: str) -> str:
    """Return the words of the first table row with this text."""
    rows = [words(one) for one in re.findall(r"<tr\b.*?</tr>", text, re.DOTALL)]
    return next(one for one in rows if of in one)


def section(text: str, title: str) -> str:
    """Return a page from a heading on to the next."""
    return next(part for part in text.split("<h2>") if part.startswith(title))


# ---------------------------------------------------------------- all models


@pytest.mark.parametrize("path", ["/models", "/models/"])
def test_an_empty_registry_says_that_nothing_serves_and_what_to_do(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert heading(answer.text) == "No model is in service."
    assert "model_retrain_weekly" in answer.text
    assert "alpaca-strategy train" in answer.text
    assert "<table" not in answer.text


def test_models_of_which_none_serves_lead_to_a_promotion(client):
    model = register()
    text = client.get("/models/").text
    assert heading(text) == "No model is in service."
    assert "alpaca-strategy promote" in text
    assert "never served" in row(text, of=model)
    assert "not judged" in row(text, of=model)


def test_the_heading_and_the_title_say_which_model_serves_and_until_when(client):
    made = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    model = register(made=made, expires_at=datetime(2163, 1, 2, 3, 0, tzinfo=UTC))
    promote(model)
    text = client.get("/models/").text
    since = registry().champion(Venue.SIMULATOR, Feed.IEX).since
    day = since.astimezone(ZoneInfo("America/New_York"))
    assert heading(text) == (
        f"{model} has been in service since {day.day} {day:%B %Y}, provisionally, and expires on "
        "1 January 2163."
    )
    assert f"<title>{heading(text).rstrip('.')} ·" in text
    assert FIRST in words(text)


def test_the_list_tells_of_each_model_the_newest_first(client):
    older = register("older", made=NOW - timedelta(days=7))
    promote(older)
    newer = register("newer", (Metric("rank_ic", -0.0123, -0.03, 0.004, 78),), preset="full")
    promote(newer)
    kept = register("kept", (Metric("rank_ic", math.nan),), made=NOW + timedelta(hours=1))
    reason = "The champion stays."
    registry().decide(Decision(kept, newer, VerdictKind.KEEP, reason, 0.001, -0.004, 0.006))
    text = section(client.get("/models/").text, "All models")
    assert re.findall(r'/models/([^"]+)"', text) == [kept, newer, older]
    assert "never served" in row(text, of=kept)
    assert "–" in row(text, of=kept)
    assert "not promoted" in row(text, of=kept)
    assert "in service" in row(text, of=newer)
    assert "full 2026-10-01 to 2026-10-05 2026-10-09 to 2026-10-12" in row(text, of=newer)
    assert "−0.0123 (−0.0300 to +0.0040)" in row(text, of=newer)
    assert "has served" in row(text, of=older)
    assert "+0.0312 (+0.0101 to +0.0523)" in row(text, of=older)


def test_intervals_are_drawn_on_one_axis_around_zero(client):
    register("a", (Metric("rank_ic", 0.01, 0.0, 0.04, 78),), made=NOW - timedelta(hours=1))
    register("b", (Metric("rank_ic", -0.01, -0.02, -0.005, 78),))
    text = section(client.get("/models/").text, "All models")
    # The axis goes from -0.02 to +0.04, so zero lies at a third.
    assert len(re.findall(r'class="zero" x1="33.33"', text)) == 2
    below, above = re.findall(r'<svg class="bar (\w+)"', text)
    assert (below, above) == ("below", "open")
    assert 'd="M33.33 10H100.0"' in text
    assert 'd="M0.0 10H25.0"' in text
    assert 'class="dot" d="M50.0 10h0"' in text


def test_the_history_of_the_champion_is_told_the_newest_first(client):
    first, second = register("one"), register("two")
    promote(first)
    promote(second)
    registry().rollback(Venue.SIMULATOR, Feed.IEX, reason="It lost <b>money</b>.", by="ann")
    text = section(client.get("/models/").text, "How the model in service changed")
    rows = [words(one) for one in re.findall(r"<tr>.*?</tr>", text, re.DOTALL)[1:]]
    assert f"rolled back to, provisionally {first} It lost <b>money</b>. ann" in rows[0]
    assert f"into service {second} {BETTER} gate" in rows[1]
    assert f"into service, provisionally {first} {FIRST} gate" in rows[2]


def test_a_champion_near_its_end_is_announced_and_one_far_from_it_is_not(client):
    promote(register("far"))
    assert 'class="notice' not in client.get("/models/").text
    promote(register("near", expires_at=NOW + timedelta(days=9, hours=2)))
    text = client.get("/models/").text
    assert "It expires in 9 days, and then the trader refuses it." in words(text)
    assert 'class="notice"' in text


def test_an_expired_champion_is_a_fault_with_a_way_out(client):
    earlier = register("long", expires_at=NOW + timedelta(days=99))
    promote(earlier)
    model = register("short", expires_at=NOW + timedelta(days=1))
    promote(model)
    end = (NOW + timedelta(days=1)).astimezone(ZoneInfo("America/New_York"))
    page = models_page(now=NOW + timedelta(days=3))
    assert page.headline == (
        f"The model in service, {model}, expired on {end.day} {end:%B %Y} and must not trade."
    )
    assert [line.state.value for line in page.lines if line.version.id == model] == ["overdue"]
    (notice,) = page.notices
    assert notice.bad
    assert notice.text.endswith(f"roll back to {earlier}:")
    assert notice.command == "alpaca-strategy rollback"


def test_a_damaged_champion_with_nothing_to_fall_back_to_asks_for_another(client):
    model = register()
    promote(model)
    registry().mark(model, VersionStatus.DAMAGED, reason="its file is <gone>", by="gate")
    text = client.get("/models/").text
    assert heading(text) == f"The model in service, {model}, is damaged and must not trade."
    assert 'class="notice bad"' in text
    assert "It is marked as damaged: its file is <gone>. There is none to roll back to" in words(
        text
    )
    assert "alpaca-strategy train" in text
    assert "in service, may not trade" in row(text, of=model)


def test_a_pin_is_told_with_who_and_why(client):
    promote(register())
    registry().pin(Venue.SIMULATOR, Feed.IEX, reason="until we know more.", by="ann")
    text = words(client.get("/models/").text)
    assert "Pinned by ann on" in text
    assert "(until we know more). No challenger takes its place" in text
    registry().unpin(Venue.SIMULATOR, Feed.IEX, reason="we know", by="ann")
    assert "Pinned by" not in client.get("/models/").text


def test_of_very_many_models_the_newest_hundred_are_listed(client):
    for i in range(101):
        register(str(i), (), made=NOW - timedelta(days=i))
    text = client.get("/models/").text
    assert len(re.findall(r'<td class="id">', text)) == 100
    assert "These are the newest 100" in text


# ---------------------------------------------------------------- one model


def test_the_decision_is_the_heading_and_its_reason_follows(client):
    first, second = register("one"), register("two")
    promote(first)
    promote(second)
    text = client.get(f"/models/{second}").text
    assert heading(text) == f"{second} took the place of {first}."
    assert f"<title>{second} took the place of {first} ·" in text
    assert words(text).index(BETTER) < words(text).index("What the gate decided")
    told = row(section(text, "What the gate decided"), of="promoted")
    assert "+0.0107 (+0.0031 to +0.0183)" in told
    assert heading(client.get(f"/models/{first}").text) == (
        f"{first} went into service provisionally, as the first model."
    )


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (VerdictKind.KEEP, "{champion} stayed in service, and {model} did not take its place."),
        (VerdictKind.ASK, "Whether {model} takes the place of {champion} was left to a person."),
        (VerdictKind.SUSPECT, "{model} looks too good to be true and was held for a person."),
        (VerdictKind.REFUSED, "The gate refused {model}."),
        (VerdictKind.PROVISIONAL, "{model} took the place of {champion}, provisionally."),
    ],
)
def test_every_verdict_has_its_sentence(client, verdict, sentence):
    champion, model = register("champion"), register("challenger")
    promote(champion)
    registry().decide(Decision(model, champion, verdict, "Because <it> is so."))
    text = client.get(f"/models/{model}").text
    assert heading(text) == sentence.format(champion=champion, model=model)
    assert "Because &lt;it&gt; is so." in text


def test_all_decisions_are_listed_the_newest_first(client):
    champion, model = register("champion"), register("challenger")
    promote(champion)
    for reason in ("First of three.", "Second of three.", "Third of three."):
        registry().decide(Decision(model, champion, VerdictKind.KEEP, reason))
    text = section(client.get(f"/models/{model}").text, "What the gate decided")
    assert re.findall(r"(\w+) of three", text) == ["Third", "Second", "First"]


def test_a_model_without_a_decision_and_without_figures_is_shown_all_the_same(client):
    model = register("bare", ())
    text = client.get(f"/models/{model}").text
    assert heading(text) == f"The gate has not judged {model}."
    assert f"alpaca-strategy evaluate {model}" in text
    assert "No figures of this model are recorded." in text
    assert "<svg" not in text


ALL = (
    RANK_IC,
    Metric("ic", 0.02, 0.001, 0.04, 78),
    Metric("rank_ic_t", 2.914, 0.5, 5.25, 78),
    Metric("icir", math.nan),
    Metric("top_k_excess_bps", 1.234, -0.5, 3.0, 78),
    Metric("turnover", 0.4567, 0.4, 0.5, 76),
    Metric("break_even_bps", math.inf, None, None, 76),
    Metric("calibration_slope", 0.8, 0.2, 1.4, 78),
    Metric("ridge.rank_ic", 0.0111, -0.002, 0.024, 78),
    Metric("lightgbm.rank_ic", 0.0222, 0.003, 0.041, 78),
    *(
        Metric("rank_ic", x, n=39, slice=f"session {d}")
        for d, x in zip(HOLDOUT, (0.05, -0.01), strict=True)
    ),
    *(Metric("ic", 0.01, -0.01, 0.03, 12, f"hour {hour}") for hour in (15, 9, 10)),
    *(Metric("ic", 0.01, -0.01, 0.03, 78, f"horizon {minutes}") for minutes in (60, 1, 5)),
    Metric("ic", 0.05, 0.01, 0.09, 78, "symbol TSLA"),
    Metric("ic", 0.09, 0.01, 0.17, 78, "symbol <F>"),
    Metric("ic", 0.07, 0.02, 0.12, 78, "sector Hope & Glory"),
)


@pytest.fixture
def figures(client) -> str:
    return client.get(f"/models/{register('figures', ALL)}").text


def test_the_tiles_show_each_figure_with_its_interval(figures):
    tiles = words(figures.split('<dl class="tiles">')[1].split("</dl>")[0])
    assert tiles == (
        "Rank IC +0.0312 +0.0101 to +0.0523 IC +0.0200 +0.0010 to +0.0400 "
        "t of rank IC +2.91 +0.50 to +5.25 ICIR – Top-k excess, bps +1.23 −0.50 to +3.00 "
        "Turnover 0.457 0.400 to 0.500 Break-even, bps – Calibration slope +0.80 +0.20 to +1.40"
    )
    assert "78 decisions in 2 sessions, 2026-10-09 to 2026-10-12" in words(figures)


def test_what_is_no_number_is_a_dash_everywhere(figures):
    shown = figures.split("<main>")[1]
    assert re.findall(r"\b(nan|inf|None)\b", words(shown), re.IGNORECASE) == []


def test_the_model_stands_beside_both_baselines(figures):
    text = section(figures, "Beside Ridge and LightGBM")
    table = text.split('class="compare"')[1]
    assert row(table, of="Figure") == "Figure Model Ridge LightGBM"
    assert row(table, of="Rank IC what") == (
        "Rank IC what the gate judges by +0.0312 +0.0101 to +0.0523 +0.0111 −0.0020 to +0.0240 "
        "+0.0222 +0.0030 to +0.0410"
    )
    assert row(table, of="Calibration slope").endswith("– –")
    assert re.findall(r'<svg class="bar (\w+)"', text) == ["above", "open", "above"]


def test_without_baselines_the_model_stands_alone(client):
    text = client.get(f"/models/{register('alone', (RANK_IC,))}").text
    assert "Ridge" not in text
    assert row(section(text, "All figures"), of="Figure") == "Figure Model"


def test_every_session_is_a_dot_over_the_mean_and_its_interval(figures):
    text = section(figures, "Rank IC, session by session")
    assert [words(title) for title in re.findall(r"<title>(.*?)</title>", text)] == [
        "2026-10-09: +0.0500", "2026-10-12: −0.0100"]  # fmt: skip
    assert 'aria-label="Rank IC of 2 held-out sessions, +0.0312 on average"' in text
    # The axis goes from -0.02 to +0.06: the band from 0.0101 to 0.0523 is 0.0422 / 0.08 high.
    band = re.search(r'class="band".*?y="([\d.]+)" height="([\d.]+)"', text)
    assert band is not None
    assert float(band[1]) == pytest.approx(100 * (0.06 - 0.0523) / 0.08, abs=0.02)
    assert float(band[2]) == pytest.approx(100 * 0.0422 / 0.08, abs=0.02)
    assert [float(y) for y in re.findall(r'class="dot" d="M[\d.]+ ([\d.]+)h0', text)] == [
        pytest.approx(12.5), pytest.approx(87.5)]  # fmt: skip


def test_hours_and_horizons_stand_in_their_order_the_own_horizon_among_them(figures):
    hours = re.findall(r"<title>([\d:]+):? ", section(figures, "IC by hour"))
    assert hours == ["9:00:", "10:00:", "15:00:"]
    decay = re.findall(r"<title>(\d+) min: ([^ ]+)", section(figures, "How the IC decays"))
    assert decay == [("1", "+0.0100"), ("5", "+0.0100"), ("10", "+0.0200"), ("60", "+0.0100")]


def test_symbols_and_sectors_are_listed_best_first_and_escaped(figures):
    text = section(figures, "Where the IC comes from")
    assert [words(x) for x in re.findall(r'<th scope="row">(.*?)</th>', text)] == [
        "<F>", "TSLA", "Hope & Glory"]  # fmt: skip
    assert "<F>" not in text
    assert row(text, of="Hope") == "Hope & Glory +0.0700"


def test_the_lineage_is_told_whole(client):
    model = register(artifact_uri="s3://bucket/<models>/last.ckpt", environment={"torch": "<2>"})
    text = section(client.get(f"/models/{model}").text, "What it came from")
    told = words(text)
    for fact in (
        "3 sessions, 2026-10-01 to 2026-10-05",
        "2 sessions, 2026-10-06 to 2026-10-07",
        "2 sessions, 2026-10-09 to 2026-10-12",
        "2: TSLA, F",
        "cpu, seed 7",
        "Plan the preset's",
        "Gate ask person no, expiry days 35",
        "f00d" * 16,
        "beef" * 16,
        "0.1.0+1a2b3c4d5e6f",
        "torch <2>",
        "s3://bucket/<models>/last.ckpt",
        hashlib.sha256(b"a").hexdigest(),
    ):
        assert fact in told
    assert row(text, of="2026-10-01 training") == "2026-10-01 training 3 hash-of-2026-10- 41 1"
    assert "embargo" in row(text, of=f"{EMBARGO}")
    assert "held out" in row(text, of="2026-10-12")
    assert 'title="hash-of-2026-10-12"' in text
    assert 'href="/sessions/2026-10-12"' in text


def commands(text: str) -> list[str]:
    told = section(text, "What you can do with it")
    return [html.unescape(one) for one in re.findall(r"<code>(.*?)</code>", told)]


def test_the_commands_are_those_that_help_where_the_model_stands(client):
    first, second = register("one"), register("two")
    promote(first)
    other = client.get(f"/models/{second}").text
    assert commands(other) == [
        f"alpaca-strategy models reproduce {second}",
        f"alpaca-strategy evaluate {second}",
        f'alpaca-strategy promote {second} --reason "…"',
    ]
    promote(second)
    serving = client.get(f"/models/{second}").text
    assert f"Roll back to {first}" in words(serving)
    assert commands(serving)[1:] == [
        'alpaca-strategy rollback --reason "…"',
        'alpaca-strategy pin --reason "…"',
    ]
    registry().pin(Venue.SIMULATOR, Feed.IEX, reason="wait", by="ann")
    assert commands(client.get(f"/models/{second}").text)[-1].startswith("alpaca-strategy unpin")
    text = client.get(f"/models/{first}").text
    assert f"{second} is pinned in service; unpin it before you promote another." in words(text)
    assert "alpaca-strategy promote" not in text


def test_a_model_that_may_not_serve_says_why_and_offers_no_promotion(client):
    model = register()
    registry().mark(model, VersionStatus.REFUSED, reason="It leaks.", by="ann")
    text = client.get(f"/models/{model}").text
    assert "It is refused, so it cannot be put into service." in words(text)
    assert re.search(r"Marked as refused .* by ann: It leaks\.", words(text))
    assert "alpaca-strategy promote" not in text


# ---------------------------------------------------------------- both


def test_pages_load_nothing_and_run_nothing(client):
    model = register("figures", ALL)
    promote(model)
    for path in ("/models/", f"/models/{model}"):
        answer = client.get(path)
        assert "<script" not in answer.text
        assert "http" not in answer.text
        assert "url(" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/models/2026-11-21-1a2b3c4d", "There is no model 2026-11-21-1a2b3c4d"),
        ("/models/last", "There is no such page"),
        ("/models/2026-11-21-1a2b3c4d%00", "There is no such page"),
        ("/models/%3Cscript%3E", "There is no such page"),
    ],
)
def test_a_model_that_is_not_there_is_said_in_a_sentence(client, path, sentence):
    answer = client.get(path)
    assert answer.status_code == 404
    assert sentence in answer.text
    assert "<script" not in answer.text


def test_every_page_leads_to_the_other_rooms_and_marks_its_own(client):
    model = register()
    rooms = ["/", "/models/", "/backtests/", "/trader/"]
    for path, own in (*((room, room) for room in rooms), (f"/models/{model}", "/models/")):
        links = client.get(path).text.split("<nav")[1].split("</nav>")[0]
        assert re.findall(r'href="([^"]*)"', links) == rooms
        assert re.findall(r'href="([^"]*)" aria-current="true"', links) == [own]


def test_links_stay_below_the_prefix_that_the_console_is_mounted_under(client):
    first, second = register("one"), register("two")
    promote(first)
    promote(second)
    outside = FastAPI(root_path="/airflow")
    outside.mount("/alpaca", client.app)
    for path in ("/models/", f"/models/{second}"):
        text = TestClient(outside).get(f"/airflow/alpaca{path}").text
        links = re.findall(r'href="([^"]*)"', text)
        assert len(links) > 3
        assert all(link.startswith("/airflow/alpaca/") for link in links)


def test_without_a_database_there_is_a_page_and_no_traceback(home, monkeypatch):
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", "postgresql://u@127.0.0.1:1/none")
    load_settings.cache_clear()
    services.cache_clear()
    answer = TestClient(create_app()).get("/models/")
    services.cache_clear()
    assert answer.status_code == 503
    assert "Postgres at 127.0.0.1:1/none does not answer" in answer.text
