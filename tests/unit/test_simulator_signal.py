"""The planted signal, measured on generated tapes by code of its own.

Nothing here is taken from the generator but the pressure z where the oracle is meant: closes are
the last price-setting trades of a minute, flow is the tick rule's, correlations are pandas'.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from alpaca_strategy.config import load_settings
from alpaca_strategy.simulator import calendar, signal
from alpaca_strategy.simulator.calendar import Day
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.tape import Tape
from alpaca_strategy.simulator.world import Parameters, World

Floats = npt.NDArray[np.float64]
MINUTE = 60 * 10**9
FIRST = date(2024, 3, 4)
#: Standard deviation of one session's mean correlation without a signal: 30 names have
#: 1 / sqrt(29) in every minute, and a session about 40 minutes that tell something new.
SESSION_NOISE = 0.03


def minute_closes(tape: Tape, session: Day) -> Floats:
    """Return the last regular trade of every minute, carried forward."""
    allowed = np.array([not set(marks) - {" ", "@", "F"} for marks in tape.conditions])
    minute = (tape.ts - session.open_ns) // MINUTE
    rows = np.flatnonzero(allowed[tape.condition] & (minute >= 0) & (minute < session.minutes))
    closes = np.full(session.minutes, np.nan)
    closes[minute[rows]] = tape.price[rows]  # of several values for one place the last stays
    return np.asarray(pd.Series(closes).ffill(), dtype=np.float64)


def flow_by_tick_rule(tape: Tape, session: Day) -> Floats:
    """Return the fading balance of up-tick and down-tick volume, in -1..1, after each minute."""
    minute = (tape.ts - session.open_ns) // MINUTE
    rows = (minute >= 0) & (minute < session.minutes)
    signed = np.sign(pd.Series(tape.price[rows]).diff()).replace(0, np.nan).ffill().fillna(0)
    balance = np.bincount(minute[rows], tape.size[rows] * signed, session.minutes)
    volume = np.bincount(minute[rows], tape.size[rows], session.minutes)
    fading = [pd.Series(x).ewm(alpha=0.1, adjust=False).mean() for x in (balance, volume)]
    return np.asarray(fading[0] / (fading[1] + 1e-9), dtype=np.float64)


def information(predictor: Floats, closes: Floats) -> float:
    """Return the mean cross-sectional correlation with the next ten minutes' log return."""
    returns = np.log(closes[:, 10:] / closes[:, :-10])
    known, returns = predictor[:, 10 : returns.shape[1]], returns[:, 10:]
    by_minute = pd.DataFrame(known).corrwith(pd.DataFrame(returns))
    return float(by_minute.mean())


def measure(sessions: int, *, tick_rule: bool = False, **parameters: object) -> Floats:
    """Return each session's (oracle IC, tick-rule IC, visibility of the pressure)."""
    world = World(Parameters(**parameters), load_settings().universe())  # type: ignore[arg-type]
    source, rows = SyntheticMarket(world), []
    days = [day for day in calendar.sessions(FIRST, date(2025, 12, 31)) if day.minutes == 390]
    for session in days[:sessions]:
        tapes = [source.tape("iex", symbol, session.date) for symbol in source.symbols]
        place = world.positions[session.date]
        z = np.array([signal.pressure(world, s, place, session.minutes) for s in source.symbols])
        closes = np.array([minute_closes(tape, session) for tape in tapes])
        row = [information(z, closes), 0.0, 0.0]
        if tick_rule:
            flow = np.array([flow_by_tick_rule(tape, session) for tape in tapes])
            row[1:] = [information(flow, closes), float(np.corrcoef(flow.ravel(), z.ravel())[0, 1])]
        rows.append(row)
    return np.array(rows)


def error_of(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def test_the_tick_rule_sees_the_pressure_and_it_foretells_returns_no_better_than_the_oracle() -> (
    None
):
    oracle, seen, visible = measure(16, tick_rule=True, signal_ic=0.2).T
    assert abs(oracle.mean() - 0.2) < 3 * error_of(oracle) < 0.04
    assert visible.mean() == pytest.approx(signal.VISIBILITY, abs=0.04)
    assert seen.mean() > 0.5 * 0.2
    assert seen.mean() < 0.2 + 3 * error_of(seen)


def test_the_signal_lives_only_between_its_dates() -> None:
    days = [day.date for day in calendar.sessions(FIRST, date(2024, 5, 1))]
    oracle = measure(16, signal_ic=0.25, signal_from=days[0], signal_until=days[7])[:, 0]
    error = SESSION_NOISE / np.sqrt(8)
    assert abs(oracle[:8].mean() - 0.25) < 3.5 * error
    assert abs(oracle[8:].mean()) < 3.5 * error < 0.05


@pytest.mark.proof
@pytest.mark.parametrize(("ic", "seed"), [(0.06, 7), (0.06, 8), (-0.06, 7), (0.0, 7), (0.0, 9)])
def test_the_oracle_ic_on_the_tape_is_the_planted_one(
    ic: float, seed: int, record_property: Callable[[str, object], None]
) -> None:
    oracle = measure(60, signal_ic=ic, seed=seed)[:, 0]
    error = error_of(oracle)
    record_property("oracle_ic", f"{oracle.mean():.4f} ± {error:.4f}")
    assert error < 0.005
    assert abs(oracle.mean() - ic) < 3.5 * error
    if ic:
        assert oracle.mean() * np.sign(ic) > 3.5 * error


def test_the_break_even_cost_is_what_the_best_tenth_earns() -> None:
    world = World(Parameters(), load_settings().universe())
    calibration = signal.calibrate(world, 390)
    draw = np.random.default_rng(5)
    z = draw.standard_normal(2_000_000)
    spread = calibration.spread_bps
    returns = spread * (0.06 * z + np.sqrt(1 - 0.06**2) * draw.standard_normal(len(z)))
    best = returns[z > np.quantile(z, 0.9)].mean()
    assert calibration.break_even_bps(0.06) == pytest.approx(best, abs=0.2)
    assert 15 < spread < 35  # ten minutes of names that move 1 to 3 per cent a day
    assert calibration.break_even_bps(-0.06) == calibration.break_even_bps(0.06)
    assert calibration.break_even_bps(0.0) == 0
