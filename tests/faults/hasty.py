"""A worker whose broker hands a bell out again after ten seconds, whatever became of it."""

from __future__ import annotations

from workers.app import app

__all__ = ["app"]
app.conf.broker_transport_options = {**app.conf.broker_transport_options, "visibility_timeout": 10}
