"""What Prometheus counts of the model's client, in the process that asks."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

SECONDS = Histogram("aftercare_model_seconds", "Time for a draft, waiting and tries included", buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 8))
TOKENS = Counter("aftercare_model_tokens", "Tokens by kind: prompt or answer", ["kind"])
FAILURES = Counter("aftercare_model_failures", "Drafts that were not had, by reason", ["reason"])
