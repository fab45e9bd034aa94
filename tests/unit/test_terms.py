"""What whoever starts a session and whoever trades it must agree on."""

from __future__ import annotations

import pytest

from alpaca_strategy.config import Settings, load_settings
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.jobs.terms import check_terms, terms_of
from alpaca_strategy.storage.database import MIGRATIONS


@pytest.fixture
def settings(home) -> Settings:
    return load_settings()


def test_same_versions_everywhere_agree(settings: Settings) -> None:
    ours = terms_of(settings, "2026-11-21-1a2b3c4d")
    assert ours["schema"] == max(path.name for path in (MIGRATIONS / "versions").glob("0*"))[:4]
    check_terms(ours, terms_of(settings, "2026-11-21-1a2b3c4d"))
    check_terms({}, ours)  # a session that was started by an older version asked for nothing


@pytest.mark.parametrize("name", ["code", "schema", "configuration", "model"])
def test_another_version_of_anything_is_refused_in_one_sentence(
    settings: Settings, name: str
) -> None:
    ours = terms_of(settings, "2026-11-21-1a2b3c4d")
    with pytest.raises(EnvironmentFaultError, match=r"does not start; deploy the same") as told:
        check_terms(ours | {name: "another"}, ours)
    assert "\n" not in str(told.value)


def test_what_decides_nothing_may_differ(settings: Settings) -> None:
    quiet = settings.trading.model_copy(update={"metrics_port": 0})
    other = settings.model_copy(update={"trading": quiet})
    assert terms_of(other, "m") == terms_of(settings, "m")
    late = settings.trading.model_copy(update={"grace_s": 3.0})
    changed = settings.model_copy(update={"trading": late})
    assert terms_of(changed, "m")["configuration"] != terms_of(settings, "m")["configuration"]
