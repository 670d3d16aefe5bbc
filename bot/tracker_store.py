"""Where Rasa keeps a conversation between turns: one encrypted record a patient, compact enough that a month stays fast.

The record is a copy of what the database holds, so that losing it costs nothing. A read that fails raises: an empty conversation is never made up.
"""

import json
import os
from typing import Any, Dict, Iterable, List, Optional

import redis
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rasa.core.tracker_store import TrackerStore
from rasa.shared.core.constants import ACTION_LISTEN_NAME, ACTION_SESSION_START_NAME
from rasa.shared.core.events import ActionExecuted, ActiveLoop, Event, SessionStarted, SlotSet
from rasa.shared.core.trackers import DialogueStateTracker

_KEEP_S = 90 * 24 * 3600
_NONCE_BYTES = 12


class EncryptedRedisTrackerStore(TrackerStore):
    """Slots and the active form of each conversation, AES-GCM encrypted in Redis."""

    def __init__(self, domain: Any, host: Any = None, event_broker: Any = None, **kwargs: Any) -> None:
        self._redis = redis.Redis.from_url(os.environ["AFTERCARE_REDIS_URL"], socket_timeout=2)
        self._cipher = AESGCM(bytes.fromhex(os.environ["AFTERCARE_TRACKER_KEY"]))
        super().__init__(domain, event_broker)

    def record(self, sender: str) -> Optional[Dict[str, Any]]:
        """The stored record: `version`, `state`, and the last turn's `message_id` and `response`."""
        sealed = self._redis.get(self._key(sender))
        if sealed is None:
            return None
        plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], sender.encode())
        found: Dict[str, Any] = json.loads(plain)
        return found

    def put(self, sender: str, record: Optional[Dict[str, Any]]) -> None:
        """Replaces the record in one write; None removes it."""
        if record is None:
            self._redis.delete(self._key(sender))
            return
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(record).encode(), sender.encode())
        self._redis.set(self._key(sender), sealed, ex=_KEEP_S)

    async def save(self, tracker: DialogueStateTracker) -> None:
        """Keeps the state after a turn; its version is the channel's business."""
        record = self.record(tracker.sender_id) or {"version": 0}
        self.put(tracker.sender_id, {**record, "state": state_of(tracker)})

    async def retrieve(self, sender_id: str) -> Optional[DialogueStateTracker]:
        """The conversation as Rasa needs it, or None where there was none."""
        record = self.record(sender_id)
        if record is None or not record.get("state"):
            return None
        return DialogueStateTracker.from_events(sender_id, _events(record["state"]), self.domain.slots)

    async def keys(self) -> Iterable[str]:
        """The senders with a record."""
        return [key.decode().split(":", 1)[1] for key in self._redis.scan_iter("dialogue:*")]

    @staticmethod
    def _key(sender: str) -> str:
        return f"dialogue:{sender}"


def state_of(tracker: DialogueStateTracker) -> Dict[str, Any]:
    """Slots with a value and the active form: all that rules and forms look at between turns."""
    slots = {name: value for name, value in tracker.current_slot_values().items() if value is not None and name != "session_started_metadata"}
    return {"slots": slots, "active_loop": tracker.active_loop_name}


def _events(state: Dict[str, Any]) -> List[Event]:
    events: List[Event] = [ActionExecuted(ACTION_SESSION_START_NAME), SessionStarted(), ActionExecuted(ACTION_LISTEN_NAME)]
    events += [SlotSet(name, value) for name, value in state["slots"].items()]
    if state.get("active_loop"):
        events += [ActionExecuted(state["active_loop"]), ActiveLoop(state["active_loop"])]
        events += [SlotSet("requested_slot", state["slots"].get("requested_slot"))]
        events += [ActionExecuted(ACTION_LISTEN_NAME)]
    return events
