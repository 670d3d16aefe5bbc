"""Logs: one JSON object a line, events with ids; never a patient's words, name or number."""

from __future__ import annotations

import logging

import structlog

from care.settings import settings


def configure_logs() -> None:
    """Sets up this process's logs at the level of the settings."""
    level = logging.getLevelName(settings().log_level.upper())
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level if isinstance(level, int) else logging.INFO),
    )
