"""What a trader starts with: the model in service, and the bars that its first windows reach."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.domain.models import VersionStatus
from alpaca_strategy.errors import ModelRefusedError
from alpaca_strategy.jobs.scoring import load_version
from alpaca_strategy.jobs.training_data import features_fingerprint, pins_of, read_bars
from alpaca_strategy.market.bars import BarBuilder
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.model.scorer import Scorer
from alpaca_strategy.storage.records import SessionStatus
from alpaca_strategy.trader.window import WINDOW, SessionBefore

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class InService:
    """The model in service, as the trader asks it.

    Attributes:
        model_id: Its version.
        scorer: The model.
    """

    model_id: str
    scorer: Scorer

    def score(
        self, features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Return scores and expected returns in bps, both shape (symbols,)."""
        logits = self.scorer.logits(features, usable)
        calibration = self.scorer.model.calibration
        return calibration.score(logits), calibration.expected_bps(logits)


def model_in_service(home: Services, at: datetime) -> InService:
    """Return the champion, ready to score.

    Args:
        home: The services.
        at: When it is to trade, UTC: a model expires.

    Raises:
        ModelRefusedError: There is none, it may not serve, or it was made for other data.
        DamagedFileError: Its file is gone or has changed.
    """
    settings = home.settings
    feed, symbols = settings.data.feed, settings.symbols()
    champion = home.registry.champion(settings.resolved_venue, feed)
    if champion is None:
        msg = "No model is in service; train one and promote it: alpaca-strategy train"
        raise ModelRefusedError(msg)
    if champion.status is not VersionStatus.REGISTERED or champion.expires_at <= at:
        state = champion.status.value
        if champion.status is VersionStatus.REGISTERED:
            state = f"expired since {champion.expires_at:%Y-%m-%d}"
        msg = (
            f"The model in service, {champion.version}, is {state} and may not trade; train "
            f"another, or roll back: alpaca-strategy train, alpaca-strategy rollback"
        )
        raise ModelRefusedError(msg)
    version = home.registry.version(champion.version)
    scorer = Scorer(
        load_version(home, version),
        fingerprint=features_fingerprint(home, symbols, version.horizon),
        feed=feed.value,
        symbols=symbols,
    )
    return InService(champion.version, scorer)


def sessions_before(home: Services, day: date, market: MarketData) -> list[SessionBefore]:
    """Return the sessions before one, oldest first, as many as a window reaches back into.

    Published ones come from the lake; the others are built from the venue's trades, as the nightly
    run may be late or have failed.

    Raises:
        VenueError: The venue does not give the trades.
        DamagedFileError: A published file is gone.
    """
    found: list[SessionBefore] = []
    while sum(len(one.observed) for one in found) < WINDOW:
        day = exchange_calendar().previous_session(day).day
        found.insert(0, _session(home, day, market))
    return found


def _session(home: Services, day: date, market: MarketData) -> SessionBefore:
    symbols, feed = home.settings.symbols(), home.settings.data.feed
    row = next(iter(home.catalog.sessions(day, day, feed)), None)
    if row is not None and row.status is SessionStatus.PUBLISHED:
        bars = next(read_bars(home, pins_of(home, [day]), symbols))
        return SessionBefore(day, bars.values, bars.observed)
    session = exchange_calendar().session(day)
    builder = BarBuilder(session, symbols, home.conditions)
    for page in market.trade_pages(symbols, session.opens_at, session.closes_at):
        builder.push(page.table)
    observed = builder.close()["observed"].to_numpy(zero_copy_only=False)
    return SessionBefore(
        day, builder.values(), observed.reshape(len(symbols), session.minutes).T.copy()
    )
