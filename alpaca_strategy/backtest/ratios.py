"""Ratios of a series of session returns, and the drawdowns of a series of wealth.

Most come from empyrical. Around it, because it does otherwise: no warning reaches the caller,
whatever NumPy is told to do with errors; rounding is not mistaken for risk, so that equal returns
have no dispersion; and the value at risk leaves NaN out, as all the others do. Nothing here raises
for want of data: an empty series has NaN, and so has whatever is not defined. Two published
answers are not finite: constant gains have a Sharpe ratio of infinity, and gains without any loss
a Sortino ratio of infinity.

A total return is a fact however short the series. An annual return extrapolates it: of a week it
says little, and who shows it must say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import empyrical.stats as empyrical
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
#: Sessions in a year, by which a session's figures are annualised.
YEAR = 252
#: A session's return smaller than this is rounding: a cent of ten billion USD.
_ROUNDING = 1e-12


def total_return(returns: Floats) -> float:
    """Return what a series of returns compounds to, a fraction."""
    return _of(empyrical.cum_returns_final, returns)


def annual_return(returns: Floats, year: int = YEAR) -> float:
    """Return the yearly rate at which a series grows, compounded; `year` is returns in a year."""
    return _of(empyrical.annual_return, returns, annualization=year)


def annual_volatility(returns: Floats, year: int = YEAR) -> float:
    """Return the annualised standard deviation (n - 1); NaN of fewer than two returns."""
    return _of(empyrical.annual_volatility, returns, annualization=year)


def sharpe(returns: Floats, year: int = YEAR) -> float:
    """Return the annualised Sharpe ratio of returns in excess of a benchmark."""
    return _of(empyrical.sharpe_ratio, returns, annualization=year)


def downside_risk(returns: Floats, year: int = YEAR) -> float:
    """Return the annualised root mean square of the returns below 0, over all of them."""
    return _of(empyrical.downside_risk, returns, annualization=year)


def sortino(returns: Floats, year: int = YEAR) -> float:
    """Return the annualised mean return over the downside risk."""
    return _of(empyrical.sortino_ratio, returns, annualization=year)


def max_drawdown(returns: Floats) -> float:
    """Return the deepest fall below the highest wealth so far, negative, or 0."""
    return _of(empyrical.max_drawdown, returns)


def calmar(returns: Floats, year: int = YEAR) -> float:
    """Return the annual return over the deepest drawdown; NaN without one."""
    return _of(empyrical.calmar_ratio, returns, annualization=year)


def value_at_risk(returns: Floats, share: float = 0.05) -> float:
    """Return the quantile of the returns below which this share of them lies."""
    seen = _clean(returns)
    seen = seen[~np.isnan(seen)]
    return float(np.percentile(seen, 100.0 * share)) if len(seen) else np.nan


def conditional_value_at_risk(returns: Floats, share: float = 0.05) -> float:
    """Return the mean of this share of the returns, the worst ones; of one at least."""
    return _of(empyrical.conditional_value_at_risk, returns, cutoff=share)


def beta(returns: Floats, market: Floats) -> float:
    """Return the slope of returns on the market's of the same sessions."""
    return _of(empyrical.beta_aligned, returns, factor_returns=_clean(market))


def alpha(returns: Floats, market: Floats, year: int = YEAR) -> float:
    """Return the annualised mean of what the market does not explain of the returns."""
    return _of(
        empyrical.alpha_aligned, returns, factor_returns=_clean(market), annualization=year
    )  # fmt: skip


def _of(function: Callable[..., Any], returns: Floats, **options: Any) -> float:
    with np.errstate(all="ignore"):
        return float(function(_clean(returns), **options))


def _clean(returns: Floats) -> Floats:
    """Return the returns without rounding; empty where none of them is a number.

    Equity that grows by the same rate in every session has returns that differ in the last bit,
    and over that dispersion a Sharpe ratio of 1e15.
    """
    out = np.array(returns, np.float64)
    seen = out[~np.isnan(out)]
    if len(seen) == 0:
        return seen
    if np.ptp(seen) < _ROUNDING:
        out[~np.isnan(out)] = seen[0]
    out[np.abs(out) < _ROUNDING] = 0.0
    return out


# ------------------------------------------------------------------------------------- drawdowns


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A fall below a peak and the way back; rows are positions in the series of wealth.

    Attributes:
        peak: The last row at the peak; -1 where that is what one started with.
        trough: The lowest row.
        recovery: The first row that is back at the peak; None where there is none yet.
        depth: At the trough, a negative fraction of the peak.
        length: Rows from peak to recovery, or to the end of the series.
    """

    peak: int
    trough: int
    recovery: int | None
    depth: float
    length: int


def underwater(wealth: Floats, start: float) -> Floats:
    """Return how far wealth is below its highest so far, as fractions of that, negative or 0.

    Args:
        wealth: Shape (rows,).
        start: What one started with before the first row, above 0.
    """
    highest = np.fmax.accumulate(np.concatenate([[start], wealth]))[1:]
    return np.asarray(wealth / highest - 1.0, np.float64)


def drawdowns(wealth: Floats, start: float) -> tuple[Drawdown, ...]:
    """Return the drawdowns of a series of wealth, oldest first; see `underwater`."""
    depth = underwater(wealth, start)
    below = np.concatenate([[0], (depth < 0.0).astype(np.int8), [0]])
    edges = np.diff(below)
    begins, ends = np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist()
    found = []
    for begin, end in zip(begins, ends, strict=True):
        peak, trough = begin - 1, begin + int(np.argmin(depth[begin:end]))
        back = end if end < len(wealth) else None
        length = min(end, len(wealth) - 1) - peak
        found.append(Drawdown(peak, trough, back, float(depth[trough]), length))
    return tuple(found)


# ----------------------------------------------------------------------- how sure a Sharpe ratio is


class Record(NamedTuple):
    """What the certainty of a Sharpe ratio depends on; NaN where a series has too little.

    Attributes:
        sessions: Returns in the series.
        sharpe: Of a session, not annualised.
        skew: Third standardised moment.
        kurtosis: Fourth standardised moment, 3 for a normal distribution.
    """

    sessions: int
    sharpe: float
    skew: float
    kurtosis: float


def record(returns: Floats) -> Record:
    """Return the record of a series; NaN of fewer than two returns, or of equal ones."""
    seen = _clean(returns)
    seen = seen[~np.isnan(seen)]
    if len(seen) < 2 or np.ptp(seen) == 0.0:
        return Record(len(seen), np.nan, np.nan, np.nan)
    away = seen - seen.mean()
    away /= np.sqrt(np.mean(away**2))
    return Record(
        len(seen),
        float(seen.mean() / seen.std(ddof=1)),
        float(np.mean(away**3)),
        float(np.mean(away**4)),
    )


def _spread(record: Record) -> float:
    """Return the variance of the estimate of a Sharpe ratio, times n - 1."""
    of_skew, of_kurtosis = record.skew * record.sharpe, (record.kurtosis - 1.0) / 4.0
    return float(1.0 - of_skew + of_kurtosis * record.sharpe**2)


def probabilistic_sharpe(record: Record, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio lies above a benchmark.

    Args:
        record: Of the series.
        benchmark: A Sharpe ratio of a session.

    Source:
        Bailey and López de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 15 (2012),
        section 3: the probabilistic Sharpe ratio.
    """
    spread = _spread(record)
    if not spread > 0.0:
        return np.nan
    above = (record.sharpe - benchmark) * np.sqrt(record.sessions - 1.0)
    return float(ndtr(above / np.sqrt(spread)))


def minimum_track_record(
    record: Record, benchmark: float = 0.0, confidence: float = 0.95
) -> float:  # fmt: skip
    """Return how many sessions it takes to know that a Sharpe ratio lies above a benchmark.

    NaN where it does not.

    Source:
        As `probabilistic_sharpe`, section 4: the minimum track record length.
    """
    above = record.sharpe - benchmark
    if not above > 0.0:
        return np.nan
    return float(1.0 + _spread(record) * (ndtri(confidence) / above) ** 2)


def expected_maximum(trials: int, variance: float) -> float:
    """Return the best Sharpe ratio to be expected among trials that are worth nothing.

    Args:
        trials: Independent ones, at least 1.
        variance: Of their Sharpe ratios.

    Source:
        Bailey and López de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 40
        (2014), equation 1.
    """
    if trials <= 1:
        return 0.0
    far, further = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * np.e))
    reach = (1.0 - np.euler_gamma) * far + np.euler_gamma * further
    return float(np.sqrt(variance) * reach)


def deflated_sharpe(record: Record, trials: int, variance: float) -> float:
    """Return the probability that a Sharpe ratio is more than the luck of many trials.

    Args:
        record: Of the series that was chosen.
        trials: Parameter sets that were tried.
        variance: Of the Sharpe ratios of those trials, of a session.

    Source:
        As `expected_maximum`, equation 2.
    """
    return probabilistic_sharpe(record, expected_maximum(trials, variance))
