"""What Prometheus counts of triage, in the process that decides."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

SECONDS = Histogram("aftercare_triage_seconds", "Time to decide on a report", buckets=(0.01, 0.03, 0.1, 0.3, 1, 2, 4, 6, 8))
FALLBACKS = Counter("aftercare_triage_fallbacks", "Reports decided without a layer, by layer", ["layer"])
REJECTIONS = Counter("aftercare_guard_rejections", "Drafted replies that did not leave, by reason; one reply may have several", ["reason"])
REPLIES = Counter("aftercare_triage_replies", "Replies by whose words they are: drafted or approved", ["words"])
