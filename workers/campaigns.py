"""The campaign clock."""

from __future__ import annotations

from care.campaigns.schedule import tick
from care.clock import service_clock
from care.storage.engine import transaction
from workers.app import app
from workers.turns import run_turns


@app.task(name="campaigns.tick")  # type: ignore[untyped-decorator]
def campaigns_tick() -> None:
    """Queues the turns of contacts that are due, then rings for them; unrung ones are found by the sweep."""
    with transaction() as session:
        patients = tick(session, service_clock().now())
    for patient_id in patients:
        run_turns.delay(patient_id)
