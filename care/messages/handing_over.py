"""Handing claimed messages to Twilio: a patient's in order, several patients' side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby

import structlog

from care.messages.gateway import SmsGateway, SmsRefused, SmsUnanswered
from care.messages.pace import Haste, Leaving, may_leave
from care.messages.twilio_errors import ErrorClass, handling

log = structlog.get_logger()

_SIDE_BY_SIDE = 8
"""So many patients' messages are handed over at the same time: Twilio takes its time over each."""


@dataclass(frozen=True)
class SendPolicy:
    """Real time, not the service's: `lease` of a claim, within `fresh` of which the message is handed over or claimed anew, since consent was looked at in the
    claim; `doubt` before an unknown message is taken as not sent, `retry` before it is looked up again; `segments_per_second` of each of our numbers, `pause`
    before one that is over it is tried again."""

    lease: timedelta = timedelta(seconds=30)
    fresh: timedelta = timedelta(seconds=1)
    doubt: timedelta = timedelta(seconds=60)
    retry: timedelta = timedelta(seconds=2)
    segments_per_second: float = math.inf
    pause: timedelta = timedelta(seconds=1)


@dataclass(frozen=True)
class Claim:
    """The row to act on: to send (perhaps as the breaker's `probe`), or (`doubtful`) to look up."""

    row_id: int
    patient_id: str
    to: str
    sender: str
    body: str
    reference: str
    segments: int = 1
    haste: Haste = Haste.ANSWER
    doubtful: bool = False
    probe: bool = False
    lease_until: datetime | None = None


@dataclass(frozen=True)
class Answer:
    """What became of a claim: Twilio's sid, its refusal, or neither: not known, or (`held_back`) not tried and not to be tried before `next_at`."""

    external_id: str = ""
    refused: int | None = None
    held_back: bool = False
    next_at: datetime | None = None


class HandingOver:
    """Hands messages over. One instance a process; it holds no state between calls but its threads."""

    def __init__(self, gateway: SmsGateway, policy: SendPolicy) -> None:
        self._gateway = gateway
        self._policy = policy

    def hand_over(self, claims: Sequence[Claim]) -> list[tuple[Claim, Answer]]:
        """Hands each message to Twilio, in order for each patient; what became of it, in the order of the claims. Held back is what is over its number's pace,
        what has waited too long for its turn, what comes after a message of the same patient that Twilio did not take, and the rest once Twilio takes nothing
        from us."""
        if not claims:
            return []
        batch = _Batch(claims[0], time.monotonic(), self._at_their_pace(claims))
        of_each = [list(group) for _, group in groupby(claims, key=lambda claim: claim.patient_id)]
        if len(of_each) == 1:
            return self._in_order(of_each[0], batch)
        handed = self._threads.map(lambda mine: self._in_order(mine, batch), of_each)
        return [answer for answers in handed for answer in answers]

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="sms")

    def _in_order(self, claims: Sequence[Claim], batch: _Batch) -> list[tuple[Claim, Answer]]:
        """One patient's messages."""
        broken, answers = False, list[tuple[Claim, Answer]]()
        for claim in claims:
            if claim.row_id not in batch.at_pace:
                answer = Answer(held_back=True, next_at=datetime.now(UTC) + self._policy.pause)
            elif batch.closed or self._is_stale(claim, batch) or (broken and claim.haste is not Haste.WARNING):
                answer = Answer(held_back=True)
            else:
                answer = self._send(claim)
            if answer.refused is not None and handling(answer.refused).kind is ErrorClass.PROVIDER:
                batch.closed = True
            broken = broken or not answer.external_id
            answers.append((claim, answer))
        return answers

    def _is_stale(self, claim: Claim, batch: _Batch) -> bool:
        """Whether it has waited too long for its turn; the first has longer, so that something leaves where all is slow."""
        longest = max(self._policy.lease / 2, self._policy.fresh) if claim is batch.first else self._policy.fresh
        return time.monotonic() - batch.began > longest.total_seconds()

    def _at_their_pace(self, claims: Sequence[Claim]) -> set[int]:
        """The rows that may leave now."""
        if math.isinf(self._policy.segments_per_second):
            return {claim.row_id for claim in claims}
        allowed = may_leave([Leaving(claim.sender, claim.segments, claim.haste) for claim in claims], self._policy.segments_per_second)
        return {claim.row_id for claim, may in zip(claims, allowed, strict=True) if may}

    def _send(self, claim: Claim) -> Answer:
        try:
            return Answer(external_id=self._gateway.send(claim.to, claim.body, claim.reference, claim.sender))
        except SmsRefused as refusal:
            return Answer(refused=refusal.code)
        except SmsUnanswered:
            log.warning("sms_unanswered", outbound=claim.row_id)
            return Answer()


@dataclass
class _Batch:
    """Claims that are handed over together: the `first`, when that `began`, the rows `at_pace`, and whether Twilio takes nothing from us any more."""

    first: Claim
    began: float
    at_pace: set[int]
    closed: bool = False
