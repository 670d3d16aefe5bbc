"""Rasa's own REST channel, for benchmarks only: as it comes, but for the context that the actions need, which it would leave out."""

from typing import Any, Dict, Optional, Text

from rasa.core.channels.rest import RestInput
from sanic.request import Request


class BenchRest(RestInput):
    """`POST /webhooks/rest/webhook` with `sender`, `message` and `metadata`. It has no token: never in service."""

    def get_metadata(self, request: Request) -> Optional[Dict[Text, Any]]:
        """The metadata of the request."""
        found: Optional[Dict[Text, Any]] = request.json.get("metadata")
        return found
