"""What each layer brings to the decision: each alone, and the decision without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from care.acuity import Acuity, highest
from care.graph import complications_for
from care.knowledge import knowledge
from care.lexicon import find_symptoms
from care.triage.model import DraftUnavailable, Layer, PatientContext, Report, Triage, TriageDraft, TriageRequest
from care.triage.service import TriageService
from care.understanding import Understanding, UnderstandingUnavailable
from generation import decides

DEADLINE_S = 30.0
"""Longer than a turn's: what is measured here is the decision, not the machine."""
_LEADING = 0.3
"""A complication with this share among those that fit is what the graph says; a lesser one no more than that something is there."""


@dataclass(frozen=True)
class Said:
    """What encoder and model answered on a report, kept so that every variant of the decision is made of the same answers; None is left out.

    `alike` is how like the report each approved statement is.
    """

    understanding: Understanding | None
    draft: TriageDraft | None
    graphless: TriageDraft | None
    seconds: float
    failed: str = ""
    alike: dict[str, float] | None = None


@dataclass
class _Kept:
    """Encoder and model as they answered before; `version` and `prompt_version` are the model's."""

    said: Said
    version: str
    prompt_version: str
    decides: bool

    def understand(self, text: str, deadline_s: float) -> Understanding:
        if self.said.understanding is None:
            raise UnderstandingUnavailable("left out")
        return self.said.understanding

    def alike(self, text: str, deadline_s: float) -> dict[str, float]:
        if self.said.alike is None:
            raise UnderstandingUnavailable("left out")
        return self.said.alike

    def draft(self, request: TriageRequest, deadline_s: float, suspected: Acuity = Acuity.SELF_CARE) -> TriageDraft:
        if self.said.draft is None:
            raise DraftUnavailable("left out")
        return self.said.draft


def without_graph(request: TriageRequest) -> TriageRequest:
    """The request with nothing in it that the graph proposes."""
    return request.model_copy(update={"complications": [], "red_flags": [], "questions": []})


def by_graph(text: str, context: PatientContext) -> Acuity:
    """What the graph alone says of a report: the acuity of the complications that lead, or that there is a complaint that the protocol does not expect."""
    found = find_symptoms(text)
    present = [each.id for each in found if not each.negated and not each.elsewhere]
    if not present:
        return Acuity.SELF_CARE
    denied = [each.id for each in found if each.negated]
    leading = [each.acuity for each in complications_for(present, context.protocol, context.day, denied) if each.score >= _LEADING]
    plan = knowledge().protocols.get(context.protocol or "")
    return highest([Acuity.SELF_CARE if plan is not None and set(present) <= set(plan.expected) else Acuity.ROUTINE, *leading])


def decisions(text: str, context: PatientContext, said: Said, versions: tuple[str, str]) -> dict[str, Acuity]:
    """The acuity by each way of deciding: all layers, each alone, and all but each.

    The rules cannot be taken out of the service, which never decides below them: without them the highest vote of the others that decide stands.
    """
    decided = decide(text, context, said, versions)
    votes = {vote.layer: vote for vote in decided.votes}
    encoder, model = votes[Layer.ENCODER].acuity, votes[Layer.MODEL].acuity
    return {
        "all layers": decided.acuity,
        "rules alone": votes[Layer.RULES].acuity,
        "encoder alone": encoder,
        "model alone": model,
        "graph alone": by_graph(text, context),
        "without rules": highest([encoder, model]) if decides(versions[0]) else encoder,
        "without encoder": decide(text, context, replace(said, understanding=None, alike=None), versions).acuity,
        "without model": decide(text, context, replace(said, draft=None), versions).acuity,
        "without graph": decide(text, context, replace(said, draft=said.graphless), versions).acuity,
    }


def leaning_encoder(said: Sequence[Said], votes: Sequence[Acuity], emergencies: Sequence[bool], found: int) -> list[Acuity]:
    """The encoder's votes, were it to call an emergency from so little probability on that it finds `found` of the emergencies.

    At like findings the rates of false alarms can be compared: what leaning so far costs is what the other layers are worth.
    """
    shares = [
        inf if vote is Acuity.EMERGENCY or each.understanding is None else each.understanding.acuity.get(Acuity.EMERGENCY, 0.0)
        for each, vote in zip(said, votes, strict=True)
    ]
    least = sorted((share for share, emergency in zip(shares, emergencies, strict=True) if emergency), reverse=True)[: max(found, 1)]
    return [Acuity.EMERGENCY if least and share >= least[-1] else vote for share, vote in zip(shares, votes, strict=True)]


def decide(text: str, context: PatientContext, said: Said, versions: tuple[str, str]) -> Triage:
    """The triage as the service makes it of these answers."""
    kept = _Kept(said, *versions, decides(versions[0]))
    triage = TriageService(kept, kept, knowledge(), likeness=kept)
    return triage.assess(Report(text=text, context=context, understanding=said.understanding), DEADLINE_S)


WAYS: tuple[str, ...] = (
    "all layers",
    "rules alone",
    "encoder alone",
    "model alone",
    "graph alone",
    "without rules",
    "without encoder",
    "without model",
    "without graph",
)
