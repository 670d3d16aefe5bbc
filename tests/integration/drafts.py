"""A report as the model is asked about it, an answer of the model, and a client of a server that gives any answer."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from care.triage.model import AdviceCandidate, Finding, PatientContext, TriageRequest
from generation import REFERENCE_MODEL
from generation.client import VllmDrafter
from generation.shedding import Breaker

GOOD = (
    '{"acuity":"routine","unsure":false,"red_flags":[],"findings":["swelling"],"denied":[],"questions":[],'
    '"advice":["ice_knee","made_up"],"reply":"Use ice.","rationale":"is swollen"}'
)


def asked(report: str = "knee is swollen") -> TriageRequest:
    return TriageRequest(
        report=report,
        context=PatientContext(protocol="knee_replacement", day=3),
        findings=[Finding(id="swelling")],
        advice=[AdviceCandidate(id="ice_knee", text="Use ice.")],
    )


def answering(text: str, finish: str = "stop", status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    body = {"model": f"{REFERENCE_MODEL}@12345678", "choices": [{"finish_reason": finish, "text": text}]}
    return lambda request: httpx.Response(status, json=body)


def drafter(answer: Callable[[httpx.Request], httpx.Response], breaker: Breaker | None = None) -> VllmDrafter:
    return VllmDrafter("http://vllm", transport=httpx.MockTransport(answer), breaker=breaker)
