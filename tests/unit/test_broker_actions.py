"""Corporate actions as a venue may send them."""

from __future__ import annotations

from datetime import date

import pytest
import scripted_venue as sv

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import MalformedResponseError


class Unpaced:
    """Lets everybody pass."""

    def acquire(self) -> None: ...

    def push_back(self, seconds: float) -> None: ...


@pytest.mark.parametrize("rate", [0, -2, None, "x"])
def test_a_split_by_nothing_is_refused_before_it_spoils_prices(rate: object) -> None:
    split = {
        "id": "1", "symbol": "SPY", "ex_date": "2026-09-01", "process_date": "2026-09-01",
        "old_rate": rate, "new_rate": 4,
    }  # fmt: skip
    body = {"corporate_actions": {"forward_splits": [split]}, "next_page_token": None}
    with sv.scripted_venue(lambda _request, _number: sv.reply(body)) as venue:
        market = MarketData(
            key="PKVISIBLE123", secret="s", feed=Feed.IEX, pace=Unpaced(), url=venue.url
        )
        with pytest.raises(MalformedResponseError, match="lacks what is documented"):
            market.corporate_actions(["SPY"], date(2026, 8, 25), date(2026, 9, 2))
        market.close()
