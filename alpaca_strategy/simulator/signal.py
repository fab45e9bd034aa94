"""The planted signal: order-flow pressure now, returns within the next ten minutes.

Each symbol has a latent pressure z, an AR(1) process over the session's minutes with unit
variance. During minute m a trade is a buy with probability 1/2 + 0.3 z(m), so the pressure shows
in the bars' buy and sell volume by the tick rule. The efficient log price drifts in minute m + 1
by a · z(m) · (the minute's idiosyncratic volatility).

**Oracle IC**: the mean over the session's minutes m of the cross-sectional Pearson correlation
between z(m) and log(close(m + 10) / close(m)), closes being the last trades of the minutes.
`calibrate` solves for the drift a that makes it the wanted number, taking into account that
the day's return is fixed (a bridge), that names differ in volatility and share factors, and that
a pressed last trade prints on its own side of the spread and comes back (bid-ask bounce).

What can be seen of z: the balance of up-tick and down-tick volume, fading by a tenth each minute,
correlates with z by about 0.69 (counts of trades: 0.72) at the default number of trades, and so
foretells about that share of the oracle IC.

**Break-even cost**: what a round trip may cost before the oracle's best tenth of the names,
held for ten minutes, earns nothing: 1.755 (mean of a normal's top decile) · |IC| · the
cross-sectional standard deviation of ten-minute returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alpaca_strategy.simulator.tape import Floats
from alpaca_strategy.simulator.world import (
    MARKET_DAILY_VOL,
    OVERNIGHT_SHARE,
    SECTOR_DAILY_VOL,
    Company,
    World,
    rng,
)

HORIZON = 10  # minutes
PERSISTENCE = 0.95  # of the pressure, a minute
FLOW = 0.6  # mean sign of a trade per unit of pressure
FLOW_LIMIT = 0.95
STEP_S = 5  # grid of the efficient price
STEPS = 60 // STEP_S
TICK = 0.01
TOP_DECILE_MEAN = 1.755
VISIBILITY = 0.69  # correlation of the tick rule's fading balance with the pressure, measured


@lru_cache(maxsize=8)
def clock_shape(minutes: int) -> Floats:
    """Return the share of a session's variance and trades in each five-second step.

    Source: a U over the session with steeper ends; half-hour shares 14.6 % … 3.7 % … 14.6 %.
    """
    seconds = minutes * 60.0
    t = (np.arange(minutes * STEPS) + 0.5) * STEP_S
    u = t / seconds
    shape = (
        0.55
        + 1.35 * np.abs(2 * u - 1) ** 2.2
        + 1.6 * np.exp(-t / 300)
        + np.exp(-(seconds - t) / 240)
    )
    share: Floats = shape / shape.sum()
    return share


@lru_cache(maxsize=8)
def minute_volatility(minutes: int) -> Floats:
    """Return each minute's volatility per unit of daily volatility."""
    share = clock_shape(minutes).reshape(minutes, STEPS).sum(axis=1)
    volatility: Floats = np.sqrt((1 - OVERNIGHT_SHARE) * share)
    return volatility


def pressure(world: World, symbol: str, position: int, minutes: int) -> Floats:
    """Return z for every minute of a session."""
    shocks = rng(world.parameters.seed, symbol, position, "flow").standard_normal(minutes)
    shocks[1:] *= np.sqrt(1 - PERSISTENCE**2)
    weight = PERSISTENCE ** -np.arange(minutes)
    z: Floats = np.cumsum(shocks * weight) / weight
    return z


def half_spread(company: Company, price: float) -> float:
    """Return the effective half-spread as a fraction: the tick sets a floor."""
    return max(company.half_spread, 0.5 * TICK / price)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes the signal as large as it is.

    Attributes:
        gain: IC per unit of drift.
        drag: IC that the bounce takes away.
        spread_bps: Cross-sectional standard deviation of ten-minute returns.
    """

    gain: float
    drag: float
    spread_bps: float

    def drift(self, ic: float) -> float:
        """Return the drift a for a wanted oracle IC; 0 means no correlation at all."""
        return (ic + self.drag) / self.gain

    def break_even_bps(self, ic: float) -> float:
        """Return the round-trip cost at which the oracle earns nothing."""
        return TOP_DECILE_MEAN * abs(ic) * self.spread_bps


def _foresight(minutes: int) -> Floats:
    """Return cov(z(m), ten-minute idiosyncratic return) per unit of drift and volatility."""
    volatility = minute_volatility(minutes)
    at = np.arange(minutes)
    reach = PERSISTENCE ** np.abs(at[:, None] - at[None, :-1]) * volatility[None, 1:]
    share = clock_shape(minutes).reshape(minutes, STEPS).sum(axis=1)
    done = np.cumsum(share)
    starts = at[: minutes - HORIZON]
    total = reach.sum(axis=1)
    near = np.array([reach[m, m : m + HORIZON].sum() for m in starts])
    covariance: Floats = near - (done[starts + HORIZON] - done[starts]) * total[starts]
    return covariance


def calibrate(world: World, minutes: int) -> Calibration:
    """Work out how the drift turns into an IC for this universe and session length."""
    companies = list(world.companies.values())
    vol = np.array([c.vol for c in companies])
    beta = np.array([c.beta for c in companies])
    half = np.array([half_spread(c, c.level) for c in companies])
    share = clock_shape(minutes).reshape(minutes, STEPS).sum(axis=1)
    done = np.cumsum(share)
    window = (1 - OVERNIGHT_SHARE) * (done[HORIZON:] - done[:-HORIZON])
    variance = _dispersion(companies, beta, vol)
    spread = np.sqrt(variance * window + 2 * np.mean(half**2))
    come_back = FLOW * (1 - PERSISTENCE**HORIZON)
    ratio = _small_sample(companies, vol, beta)
    gain = float(np.mean(_foresight(minutes) / spread)) * float(vol.mean()) * ratio
    drag = float(np.mean(1 / spread)) * float(half.mean()) * come_back * ratio
    return Calibration(gain, drag, float(spread.mean()) * 1e4)


def _sectors(companies: list[Company]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    names = sorted({c.sector for c in companies})
    return np.array([[float(c.sector == name) for name in names] for c in companies])


def _dispersion(companies: list[Company], beta: Floats, vol: Floats) -> float:
    """Return the cross-sectional variance of daily returns."""
    if len(companies) < 2:
        return float(np.mean(vol**2))
    members = _sectors(companies).mean(axis=0)
    sector = SECTOR_DAILY_VOL**2 * (1 - float(np.sum(members**2)))
    market = MARKET_DAILY_VOL**2 * float(np.var(beta))
    return float(np.mean(vol**2)) * (1 - 1 / len(companies)) + sector + market


def _small_sample(companies: list[Company], vol: Floats, beta: Floats) -> float:
    """Return E[correlation] over the ratio of expectations, by a fixed simulation.

    A sample correlation divides by the sample's own spread, which unequal volatilities make
    uncertain; with few names the difference is several per cent.
    """
    count = len(companies)
    if count < 4:
        return 1.0
    draw = rng("calibration", count)
    rounds = 6000
    z = draw.standard_normal((rounds, count))
    noise = draw.standard_normal((rounds, count)) * vol
    sectors = _sectors(companies)
    noise += draw.standard_normal((rounds, sectors.shape[1])) @ sectors.T * SECTOR_DAILY_VOL
    noise += draw.standard_normal((rounds, 1)) * MARKET_DAILY_VOL * beta
    size = 0.02

    def mean_correlation(scale: float) -> float:
        y = noise + scale * vol * z
        left, right = z - z.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        return float(np.mean((left * right).sum(1) / np.sqrt((left**2).sum(1) * (right**2).sum(1))))

    slope = (mean_correlation(size) - mean_correlation(-size)) / (2 * size)
    naive = float(vol.mean()) / np.sqrt(_dispersion(companies, beta, vol))
    return float(slope / naive)
