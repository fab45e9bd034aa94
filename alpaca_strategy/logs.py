"""Logging, configured by entry points only."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from alpaca_strategy.sections import LoggingSettings

#: Libraries whose debug output prints request headers, and with them credentials.
_HEADER_PRINTERS = ("urllib3", "requests", "websockets", "botocore", "aiobotocore", "httpx")
_SECRET_WORDS = ("secret", "password", "token", "authorization", "api_key", "data_key", "apca")


def _mask_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
    return event


def configure_logging(settings: LoggingSettings) -> None:
    """Send structlog's events to standard error: lines for a terminal, JSON for a machine."""
    level = getattr(logging, settings.level.upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(max(level, logging.WARNING))  # libraries set their own loggers lower
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in _HEADER_PRINTERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for_people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
