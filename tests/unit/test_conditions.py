from __future__ import annotations

import copy
import json
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.errors import SettingsError
from alpaca_strategy.market.conditions import (
    CLOSING,
    HIGH_LOW,
    ODD_LOT,
    OPEN_CLOSE,
    OPENING,
    REGULAR,
    TICK,
    VOLUME,
    condition_tables,
    load_condition_table,
    parse_condition_table,
)

EVERYTHING = OPEN_CLOSE | HIGH_LOW | VOLUME | TICK
UPDATES = OPEN_CLOSE | HIGH_LOW | VOLUME


@pytest.mark.parametrize(
    ("conditions", "tape", "updates"),
    [
        ("@", "C", UPDATES),
        (" ", "A", UPDATES),
        ("", "A", UPDATES),
        ("@,F", "C", UPDATES),
        (" ,F,T", "B", UPDATES),
        ("@,I", "C", VOLUME),
        ("B", "C", UPDATES),  # bunched
        ("B", "A", VOLUME),  # average price
        ("B", "B", VOLUME),
        ("@,4", "C", VOLUME),
        ("@,Z", "C", VOLUME),
        ("@,7,V", "C", VOLUME),
        ("@,O,X", "C", UPDATES),
        ("@,6", "C", UPDATES),
        ("M", "A", 0),
        ("@,Q", "C", 0),
        ("9", "C", 0),
        ("@,I,M", "C", 0),
    ],
)
def test_alpacas_published_rules(conditions: str, tape: str, updates: int) -> None:
    assert load_condition_table("alpaca").updates(conditions, tape) & UPDATES == updates


def test_what_a_print_is_travels_with_what_it_updates() -> None:
    table = load_condition_table("alpaca")
    assert table.updates("@,I", "C") == VOLUME | TICK | REGULAR | ODD_LOT
    assert table.updates(" ", "B") == EVERYTHING | REGULAR
    assert table.updates("F", "C") == EVERYTHING
    assert table.updates("@,W", "C") == VOLUME | REGULAR  # an average price is nobody's tick


def test_an_unknown_condition_counts_in_volume_only_and_is_named() -> None:
    table = load_condition_table("alpaca")
    assert table.updates("@,?", "C") & EVERYTHING == VOLUME
    assert table.unknown("@,?,~", "C") == ("?", "~")
    assert table.unknown("@,I", "C") == ()
    assert table.unknown("D", "A") == ("D",)  # a code of tape C
    assert table.unknown("D", "C") == ()


@pytest.mark.parametrize(
    ("conditions", "bits"),
    [
        ("@", EVERYTHING | REGULAR),
        ("F", VOLUME | TICK),
        ("F,T", EVERYTHING),
        ("F,T,+trade_through_exempt", EVERYTHING),
        ("W", EVERYTHING),
        ("W,+trade_through_exempt", VOLUME),
        ("4,V,+trade_through_exempt", VOLUME),
        ("R,+trade_through_exempt", VOLUME),
        ("T,W,+trade_through_exempt", EVERYTHING),
        ("Z,L", EVERYTHING),
        ("@,+suspicious", VOLUME | REGULAR),
        ("T,+suspicious", VOLUME),
        ("M", 0),
        ("Q", 0),
        ("O", EVERYTHING | OPENING),
        ("6,X,+trade_through_exempt", EVERYTHING | CLOSING),
    ],
)
def test_the_vendors_rules(conditions: str, bits: int) -> None:
    assert load_condition_table("vendor-2013").updates(conditions, "A") == bits


codes = st.sampled_from([*"@ ABCDEFGHIKLMNOPQRTUVWXYZ45679?", "+suspicious"])


@given(st.lists(codes, min_size=1, max_size=5), codes, st.sampled_from("ABCNO"))
@settings(deadline=None)
def test_one_more_condition_never_lets_a_trade_update_more(
    held: list[str], more: str, tape: str
) -> None:
    table = load_condition_table("alpaca")
    before, after = (
        table.updates(",".join(held), tape),
        table.updates(",".join([*held, more]), tape),
    )
    assert after & EVERYTHING & ~before == 0


@given(st.lists(codes, max_size=5).flatmap(lambda c: st.tuples(st.just(c), st.permutations(c))))
@settings(deadline=None)
def test_the_order_of_conditions_does_not_matter(pair: tuple[list[str], list[str]]) -> None:
    for name in condition_tables():
        table = load_condition_table(name)
        assert len({table.updates(",".join(given), "C") for given in pair}) == 1


def test_a_table_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(SettingsError, match=r"'sip'; set .* one of alpaca, vendor-2013"):
        load_condition_table("sip")


def test_the_fingerprint_follows_the_rules() -> None:
    content = json.loads(
        files("alpaca_strategy.market.conditions").joinpath("alpaca.json").read_text()
    )
    same = parse_condition_table(json.loads(json.dumps(content, indent=7)))
    assert same.sha256 == load_condition_table("alpaca").sha256
    changed = copy.deepcopy(content)
    changed["conditions"][0]["updates"] = "volume"
    assert parse_condition_table(changed).sha256 != same.sha256
    assert load_condition_table("vendor-2013").sha256 != same.sha256


@pytest.mark.parametrize("name", ["alpaca", "vendor-2013"])
def test_no_condition_is_ruled_twice_on_a_tape(name: str) -> None:
    content = json.loads(
        files("alpaca_strategy.market.conditions").joinpath(f"{name}.json").read_text()
    )
    assert content["name"] == name
    ruled = [(c["code"], t) for c in content["conditions"] for t in c.get("tapes", "ABCNO")]
    assert len(ruled) == len(set(ruled))
