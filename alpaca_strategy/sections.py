"""The sections of settings.yaml, each a type: names, defaults and limits of what may be chosen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from alpaca_strategy.domain.market import Feed


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Section):
    """What is fetched, and how."""

    universe: Path = Path("include/config/universe.csv")
    symbols: Annotated[tuple[str, ...], NoDecode] = ()
    feed: Feed = Feed.IEX
    condition_table: str = "alpaca"
    margin_minutes: int = Field(30, ge=0, le=330)
    chunk_symbols: int = Field(10, ge=1, le=1000)
    requests_per_minute: int = Field(200, ge=1, le=100_000)
    page_limit: int = Field(10_000, ge=1, le=10_000)
    keep_tape_sessions: int = Field(0, ge=0)
    repull_sessions: int = Field(1, ge=0, le=5)
    first_backfill_sessions: int = Field(50, ge=1, le=2000)

    @field_validator("symbols", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class QualitySettings(_Section):
    """When data are good enough."""

    min_symbols_published: float = Field(0.9, ge=0, le=1)
    max_examples: int = Field(20, ge=1, le=1000)


class ModelSettings(_Section):
    """How large the network is."""

    preset: Literal["auto", "full", "cpu", "demo"] = "auto"
    horizon_minutes: int = Field(10, ge=1, le=120)
    top_k: int = Field(3, ge=1, le=100)


class TrainingSettings(_Section):
    """How a model is trained, and on what; what is null is the preset's."""

    sessions: int = Field(60, ge=35, le=2000)
    seed: int = Field(1, ge=0, le=2**31 - 1)
    epochs: int | None = Field(None, ge=1, le=10_000)
    patience: int | None = Field(None, ge=1, le=10_000)
    learning_rate: float | None = Field(None, gt=0, le=1)
    weight_decay: float | None = Field(None, ge=0, le=1)
    baselines: bool = True


class GateSettings(_Section):
    """When a challenger takes the champion's place."""

    expiry_days: int = Field(42, ge=6, le=3650)
    near_expiry_days: int = Field(21, ge=6, le=3650)
    ask_person: bool = False

    @model_validator(mode="after")
    def _near_is_before_the_end(self) -> GateSettings:
        if self.near_expiry_days > self.expiry_days:
            msg = f"near_expiry_days must be at most expiry_days, {self.expiry_days}"
            raise ValueError(msg)
        return self


class StrategySettings(_Section):
    """What is bought and sold, and when; each rule can be switched off."""

    interval_minutes: int = Field(10, ge=1, le=389)
    top_k: int = Field(3, ge=1, le=1000)
    min_score: float | None = Field(0.6, ge=0, le=1)
    max_positions: int = Field(6, ge=1, le=1000)
    hold_minutes: int = Field(10, ge=1, le=389)
    keep_chosen: bool = True
    cooldown_minutes: int = Field(15, ge=0, le=389)
    trend_filter: bool = True
    momentum_filter: bool = True
    min_rsi: float | None = Field(45, gt=0, lt=100)
    edge_over_cost: bool = False
    flat_minutes_before_close: int = Field(5, ge=0, le=200)
    exposure: float = Field(0.95, gt=0, le=1)
    whole_shares: bool = True

    @model_validator(mode="after")
    def _there_is_time_to_trade(self) -> StrategySettings:
        # Of a half-day, the shortest session: 210 minutes.
        left = 210 - self.flat_minutes_before_close
        if self.interval_minutes >= left:
            msg = f"interval_minutes must be below {left}, or nothing is ever bought on a half-day"
            raise ValueError(msg)
        return self


class CostSettings(_Section):
    """What trading is reckoned to cost."""

    half_spread_bps: float = Field(1.0, ge=0, le=1000)
    slippage_bps: float = Field(1.0, ge=0, le=1000)
    commission_bps: float = Field(0.0, ge=0, le=1000)
    commission_per_share: float = Field(0.0, ge=0, le=10)
    sec_fee_per_million: float = Field(27.80, ge=0, le=1000)
    taf_per_share: float = Field(0.000166, ge=0, le=1)
    taf_cap: float = Field(8.30, ge=0, le=1000)
    participation: float = Field(0.1, ge=0, le=1)


class TradingSettings(_Section):
    """How the trader works during a session."""

    mode: Literal["paper", "live"] = "paper"
    name: str = Field("as", pattern=r"^[a-z][a-z0-9]{0,15}$")
    grace_s: float = Field(2.0, ge=0, le=30)
    decision_deadline_s: float = Field(15.0, gt=0, le=55)
    order_type: Literal["market", "limit"] = "market"
    collar_bps: float = Field(25.0, gt=0, le=500)
    requests_per_minute: int = Field(180, ge=10, le=100_000)
    stale_data_s: float = Field(90.0, ge=5, le=600)
    min_coverage: float = Field(0.95, ge=0, le=1)
    reconcile_every_s: float = Field(30.0, ge=5, le=600)
    metrics_port: int = Field(9464, ge=0, le=65535)


class RiskSettings(_Section):
    """Limits that the last gate before the wire enforces; they stand for a whole session."""

    max_order_usd: float = Field(50_000.0, gt=0)
    max_order_shares: float = Field(10_000.0, gt=0)
    max_position_usd: float = Field(60_000.0, gt=0)
    max_gross_exposure: float = Field(1.05, gt=0, le=4)
    max_daily_loss: float = Field(0.05, gt=0, le=1)
    max_orders_per_minute: int = Field(60, ge=1, le=10_000)
    max_orders_per_session: int = Field(1_000, ge=1, le=1_000_000)
    price_collar: float = Field(0.05, gt=0, le=1)
    max_clock_skew_s: float = Field(2.0, gt=0, le=60)
    restricted: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator("restricted", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class BacktestSettings(_Section):
    """How the strategy is run over history."""

    cash: float = Field(100_000.0, gt=0, le=1e12)


class StorageSettings(_Section):
    """Where data live; ``{venue}`` is replaced, relative paths stand under the home folder."""

    lake: str = "data/{venue}/lake"
    objects: str = "results/{venue}"
    staging: str = "data/{venue}/staging"
    keep_versions_days: int = Field(30, ge=1)

    @field_validator("lake", "objects", "staging")
    @classmethod
    def _only_the_venue_is_replaced(cls, value: str, info: ValidationInfo) -> str:
        if re.search(r"[{}]", value.replace("{venue}", "")) or not value.strip():
            msg = "a location is a folder or URL in which only {venue} is replaced"
            raise ValueError(msg)
        if info.field_name == "staging" and "://" in value:
            msg = "the staging area must be a folder on this machine"
            raise ValueError(msg)
        return value


class LoggingSettings(_Section):
    """How much is said, and in what form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class StackSettings(_Section):
    """Ports and sizes of the embedded stack; everything listens on 127.0.0.1 only."""

    airflow_port: int = Field(8080, ge=1024, le=65535)
    postgres_port: int = Field(5433, ge=1024, le=65535)
    simulator_port: int = Field(8090, ge=1024, le=65535)
    tensorboard_port: int = Field(6006, ge=1024, le=65535)
    parallelism: int = Field(8, ge=1, le=64)
    min_free_gib: float = Field(3, ge=0)


class SimulatorSettings(_Section):
    """The synthetic market of the exchange simulator."""

    seed: int = Field(7, ge=0)
    trades_per_symbol_session: int = Field(6000, ge=1, le=10_000_000)
    signal_ic: float = Field(0.06, ge=-0.5, le=0.5)
    requests_per_minute: int = Field(10_000, ge=1)
    replay: Path | None = None
