"""One typed configuration: settings.yaml, overridden by .env, overridden by the environment.

Credentials are read under Alpaca's own names and are never written anywhere.
"""

from __future__ import annotations

import csv
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    computed_field,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from alpaca_strategy.domain.market import Venue
from alpaca_strategy.errors import SettingsError, UnknownSymbolError
from alpaca_strategy.sections import (
    BacktestSettings,
    CostSettings,
    DataSettings,
    GateSettings,
    LoggingSettings,
    ModelSettings,
    QualitySettings,
    RiskSettings,
    SimulatorSettings,
    StackSettings,
    StorageSettings,
    StrategySettings,
    TradingSettings,
    TrainingSettings,
)

PROJECT_ROOT = Path(__file__).resolve().parents[1]
PREFIX = "ALPACA_STRATEGY_"
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,19}")


def home() -> Path:
    """Return the folder under which all state lives; the checkout unless moved."""
    return Path(os.environ.get("ALPACA_STRATEGY_HOME", PROJECT_ROOT)).resolve()


def settings_file() -> Path:
    """Return the settings file in force."""
    return Path(
        os.environ.get("ALPACA_STRATEGY_SETTINGS", PROJECT_ROOT / "include/config/settings.yaml")
    )


class Settings(BaseSettings):
    """Everything a user may choose, checked once at the door."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True
    )

    venue: Literal["auto"] | Venue = "auto"
    data: DataSettings = DataSettings()
    quality: QualitySettings = QualitySettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    gate: GateSettings = GateSettings()
    strategy: StrategySettings = StrategySettings()
    costs: CostSettings = CostSettings()
    trading: TradingSettings = TradingSettings()
    risk: RiskSettings = RiskSettings()
    backtest: BacktestSettings = BacktestSettings()
    storage: StorageSettings = StorageSettings()
    logging: LoggingSettings = LoggingSettings()
    stack: StackSettings = StackSettings()
    simulator: SimulatorSettings = SimulatorSettings()

    database_url: SecretStr | None = Field(None, description="Our Postgres; embedded when unset.")
    data_url: str | None = Field(None, description="Market-data host instead of the venue's own.")
    trading_url: str | None = Field(None, description="Trading host instead of the venue's own.")
    alpaca_data_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("ALPACA_DATA_KEY", "alpaca_data_key")
    )
    alpaca_data_secret: SecretStr | None = Field(
        None, validation_alias=AliasChoices("ALPACA_DATA_SECRET", "alpaca_data_secret")
    )
    alpaca_api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("ALPACA_API_KEY", "alpaca_api_key")
    )
    alpaca_secret_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("ALPACA_SECRET_KEY", "alpaca_secret_key")
    )
    live_confirmation: str | None = Field(None, description="What live trading asks you to type.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, .env, settings.yaml."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            YamlConfigSettingsSource(settings_cls, yaml_file=settings_file()),
        )

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {k: v for k, v in values.items() if v != ""}
        return values

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Settings:
        pair = (self.alpaca_data_key, self.alpaca_data_secret)
        if any(pair) and not all(pair):
            msg = (
                "Only one of ALPACA_DATA_KEY and ALPACA_DATA_SECRET is set; set both, or neither "
                "to use the simulator."
            )
            raise ValueError(msg)
        trading = (self.alpaca_api_key, self.alpaca_secret_key)
        if any(trading) and not all(trading):
            msg = (
                "Only one of ALPACA_API_KEY and ALPACA_SECRET_KEY is set; set both, or neither "
                "where nothing is to be traded."
            )
            raise ValueError(msg)
        if self.venue is Venue.PAPER and not all(pair):
            msg = "venue is paper but ALPACA_DATA_KEY and ALPACA_DATA_SECRET are not set."
            raise ValueError(msg)
        return self

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form
    @property
    def resolved_venue(self) -> Venue:
        """The venue in force; decided by configuration alone, never by what answers."""
        if self.venue != "auto":
            return self.venue
        return Venue.PAPER if self.alpaca_data_key else Venue.SIMULATOR

    def location(self, template: str) -> str:
        """Return a storage location: URLs as they are, paths made absolute under the home."""
        filled = template.replace("{venue}", self.resolved_venue.value)
        return filled if "://" in filled else str(home() / filled)

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols in force, in universe order.

        Raises:
            UnknownSymbolError: ``data.symbols`` names one that the universe lacks.
        """
        known = [row["symbol"] for row in self.universe()]
        wanted = self.data.symbols or tuple(known)
        unknown = [s for s in wanted if s not in known]
        if unknown:
            msg = (
                f"Unknown symbol {', '.join(unknown)}: not in {self.data.universe}; correct "
                f"data.symbols or add it to the universe."
            )
            raise UnknownSymbolError(msg)
        return tuple(s for s in known if s in set(wanted))

    def universe(self) -> list[dict[str, str]]:
        """Return the rows of the universe file: symbol, name, sector.

        Raises:
            SettingsError: The file is missing, lacks a column, or names what is no symbol or one
                twice.
        """
        path = self.data.universe
        path = path if path.is_absolute() else PROJECT_ROOT / path
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            msg = f"The universe file {path} cannot be read ({error}); check data.universe."
            raise SettingsError(msg) from error
        if not rows or not {"symbol", "name", "sector"} <= set(rows[0]):
            msg = f"The universe file {path} needs the columns symbol, name, sector and one row."
            raise SettingsError(msg)
        names = [row["symbol"] or "" for row in rows]
        for name in names:
            if not _SYMBOL.fullmatch(name) or names.count(name) > 1:
                fault = "stands there twice" if _SYMBOL.fullmatch(name) else "is no symbol"
                msg = f"The universe file {path} names {name!r}, which {fault}; correct it."
                raise SettingsError(msg)
        return rows


def explain(error: ValidationError) -> str:
    """Say in words what is wrong with values that were given."""
    problems: dict[str, str] = {}
    for item in error.errors(include_url=False):
        # A choice between types adds their names to the path; a setting's name has only words.
        where = ".".join(str(part) for part in item["loc"] if str(part).isidentifier())
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = "there is no such setting"
        elif where and not _is_secret(where):
            text += f" (got {item['input']!r})"
        problems[where] = f"{problems[where]}, or: {text}" if where in problems else text
    return "; ".join(f"{where}: {text}" if where else text for where, text in problems.items())


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in ("secret", "key", "database_url"))


def _refuse_unknown_names() -> None:
    """A misspelt name would otherwise be ignored, and the user would trust the wrong value."""
    known = {name.upper() for name in Settings.model_fields} | {"HOME", "SETTINGS"}
    names = {*os.environ, *_dotenv()}
    given = (name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))
    in_file = (str(name).upper() for name in _yaml())
    unknown = sorted(n for n in (*given, *in_file) if n.split("__")[0] not in known)
    if unknown:
        msg = (
            f"There is no setting named {', '.join(unknown).lower()}; "
            f"`alpaca-strategy config show` lists those that exist."
        )
        raise SettingsError(msg)


def _dotenv() -> dict[str, str | None]:
    try:
        return dotenv_values(home() / ".env")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The file {home() / '.env'} cannot be read ({error}); correct it."
        raise SettingsError(msg) from error


def _yaml() -> dict[str, Any]:
    try:
        content = yaml.safe_load(settings_file().read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"The settings file {settings_file()} cannot be read: {error}; correct it."
        raise SettingsError(" ".join(msg.split())) from error
    if not isinstance(content, dict):
        msg = f"The settings file {settings_file()} must hold sections, such as `data:`."
        raise SettingsError(msg)
    return content


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read and check the configuration once a process.

    Raises:
        SettingsError: A value is nonsense, unknown, or contradicts another.
    """
    _refuse_unknown_names()
    try:
        return Settings(_env_file=home() / ".env")
    except ValidationError as error:
        msg = f"Settings are not usable: {explain(error)}; see {settings_file()} and .env."
        raise SettingsError(msg.replace(".;", ";")) from error
    except PydanticSettingsError as error:  # a nested variable that is not what it must be
        msg = f"Settings cannot be read: {error}; correct the environment or .env."
        raise SettingsError(msg) from error


def explain_settings() -> list[tuple[str, str, str]]:
    """Return (name, value in force, where it comes from) of every setting, secrets masked."""
    settings, file, env_file = load_settings(), _yaml(), _dotenv()
    rows: list[tuple[str, str, str]] = []

    def source(path: tuple[str, ...]) -> str:
        names = (PREFIX + "__".join(path).upper(), "_".join(path).upper())
        for place, found in (("environment", os.environ), (".env", env_file)):
            for name in names:
                if found.get(name):
                    return f"{place} {name}"
        section: Any = file
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        return settings_file().name if section is not None else "default"

    def visit(model: BaseModel, path: tuple[str, ...]) -> None:
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, BaseModel):
                visit(value, (*path, name))
                continue
            text = "***" if isinstance(value, SecretStr) else _plain(value)
            rows.append((".".join((*path, name)), text, source((*path, name))))

    visit(settings, ())
    return rows


def _plain(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "all"
    return str(value)
