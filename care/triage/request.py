"""From a report to what the model is asked: one way for serving and for training, so that both show the model the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from care.graph import FittingComplication, complications_for, questions_for
from care.knowledge import knowledge
from care.lexicon import FoundSymptom, find_symptoms
from care.redflags.scope import literal_clauses
from care.retrieval import advice_for
from care.triage.model import AdviceCandidate, Finding, Offered, PatientContext, Report, TriageRequest
from care.understanding import SymptomStatus

MAX_COMPLICATIONS, MAX_RED_FLAGS, MAX_QUESTIONS = 4, 5, 4
_MAX_READ = 12_000


@dataclass(frozen=True)
class Findings:
    """What the lexicon, the values and the graph find in a report; each is worked out when it is asked for, once."""

    text: str
    context: PatientContext

    @cached_property
    def found(self) -> list[FoundSymptom]:
        """Every known symptom named."""
        return find_symptoms(self.text)

    @property
    def present(self) -> list[str]:
        """Ids of the symptoms that the patient has."""
        return [each.id for each in self.found if not each.negated and not each.elsewhere]

    @property
    def denied(self) -> list[str]:
        """Ids of the symptoms that the patient says not to have."""
        return [each.id for each in self.found if each.negated]

    @cached_property
    def complications(self) -> list[FittingComplication]:
        """What the graph proposes, best first."""
        return complications_for(self.present, self.context.protocol, self.context.day, self.denied, MAX_COMPLICATIONS)

    @cached_property
    def questions(self) -> list[str]:
        """Clarifier ids, the most telling first."""
        told = questions_for(self.present, self.context.protocol, self.context.day, self.denied, MAX_QUESTIONS, clarifiers_only=True)
        return list(dict.fromkeys(each.clarifier for each in told if each.clarifier is not None))

    @cached_property
    def red_flags(self) -> list[str]:
        """Red flags that the findings, or the complications that fit them, may raise; those of a finding first."""
        present = set(self.present)
        of_findings = [flag.id for flag in knowledge().red_flags.values() if present.intersection(flag.symptoms)]
        of_complications = [flag for each in self.complications for flag in knowledge().complications[each.id].red_flags]
        return list(dict.fromkeys([*of_findings, *of_complications]))[:MAX_RED_FLAGS]

    def typed(self) -> list[Finding]:
        """Symptoms with their status, then the values measured."""
        symptoms = [Finding(id=each.id, status=_status(each)) for each in self.found]
        values = {reading.kind: reading.value for clause in literal_clauses(self.text[:_MAX_READ]) for reading in clause.clause.values}
        return [*symptoms, *(Finding(id=kind, value=value) for kind, value in values.items())]


def request_for(report: Report, findings: Findings | None = None, advice: list[AdviceCandidate] | None = None) -> TriageRequest:
    """What the model is asked about `report`; `advice` in place of what retrieval finds."""
    findings = findings or Findings(report.text, report.context)
    known = knowledge()
    return TriageRequest(
        report=report.text,
        context=report.context,
        findings=findings.typed(),
        conversation=report.conversation,
        complications=[Offered(id=each.id, text=each.name) for each in findings.complications],
        red_flags=[Offered(id=each, text=known.red_flags[each].reason) for each in findings.red_flags],
        questions=[Offered(id=each, text=known.clarifiers[each].text["en"]) for each in findings.questions],
        advice=advice_for(report.text, findings.present, report.context) if advice is None else advice,
    )


def _status(found: FoundSymptom) -> SymptomStatus:
    if found.negated:
        return SymptomStatus.DENIED
    return SymptomStatus.OTHER if found.elsewhere else SymptomStatus.PRESENT
