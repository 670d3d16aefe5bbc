"""The entries of the knowledge, and what they name by id, each of which must be there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from care.knowledge.language import protocols_in
from care.knowledge.model import (
    Advice,
    Clarifier,
    Complication,
    Entry,
    InProtocol,
    Medicine,
    Procedure,
    Protocol,
    Question,
    QuietHours,
    RedFlag,
    Symptom,
)


@dataclass(frozen=True)
class Entries:
    """The entries of each kind by id."""

    questions: dict[str, Question]
    clarifiers: dict[str, Clarifier]
    protocols: dict[str, Protocol]
    red_flags: dict[str, RedFlag]
    advice: dict[str, Advice]
    symptoms: dict[str, Symptom]
    complications: dict[str, Complication]
    medicines: dict[str, Medicine]
    procedures: dict[str, Procedure]
    quiet_hours: dict[str, QuietHours]


@dataclass(frozen=True)
class Named:
    """The entries that a name may be one of."""

    what: str
    ids: Collection[str]


@dataclass(frozen=True)
class Reference:
    """What a field of an entry names."""

    owner: Entry
    field: str
    names: Collection[str]
    of: Named


def references(known: Entries) -> Iterator[Reference]:
    """Every one of the entries."""
    question, advice = Named("question of questions/", known.questions), Named("advice of advice/", known.advice)
    rule, symptom = Named("rule of redflags/", known.red_flags), Named("symptom of symptoms/", known.symptoms)
    protocol, medicine = Named("protocol of protocols/", known.protocols), Named("medicine of medicines/", known.medicines)
    procedure = Named("procedure of procedures/", known.procedures)
    barred = Named("symptom, protocol or `emergency`", {"emergency", *known.symptoms, *known.protocols})
    for plan in known.protocols.values():
        yield Reference(plan, "schedule", [name for day in plan.schedule for name in day.questions], question)
        yield Reference(plan, "schedule", [day.advice for day in plan.schedule if day.advice], advice)
        yield Reference(plan, "red_flags", plan.red_flags, rule)
        yield Reference(plan, "advice", plan.advice, advice)
        yield Reference(plan, "expected", plan.expected, symptom)
    for statement in known.advice.values():
        yield Reference(statement, "protocols", statement.protocols, protocol)
        yield Reference(statement, "symptoms", statement.symptoms, symptom)
        yield Reference(statement, "not_for", statement.not_for, barred)
    for clarifier in known.clarifiers.values():
        yield Reference(clarifier, "symptoms", clarifier.symptoms, symptom)
    for each in known.symptoms.values():
        yield Reference(each, "broader", [each.broader] if each.broader else [], symptom)
    for complication in known.complications.values():
        yield Reference(complication, "symptoms", complication.symptoms, symptom)
        yield Reference(complication, "protocols", complication.protocols, protocol)
        yield Reference(complication, "procedures", complication.procedures, procedure)
        yield Reference(complication, "medicines", complication.medicines, medicine)
        yield Reference(complication, "red_flags", complication.red_flags, rule)
        yield Reference(complication, "advice", complication.advice, advice)
    for given in known.medicines.values():
        yield Reference(given, "common", given.common, symptom)
        yield Reference(given, "dangerous", given.dangerous, symptom)
        yield Reference(given, "protocols", given.protocols, protocol)
    for flag in known.red_flags.values():
        yield Reference(flag, "symptoms", flag.symptoms, symptom)
        yield Reference(flag, "advice", flag.advice, advice)
        for field in ("when", "unless"):
            yield Reference(flag, field, [name for source in getattr(flag, field) for name in sorted(protocols_in(source))], protocol)
        for field in ("must_fire", "must_not_fire"):
            yield Reference(flag, field, [text.protocol for text in getattr(flag, field) if isinstance(text, InProtocol)], protocol)
    for done in known.procedures.values():
        yield Reference(done, "protocol", [done.protocol], protocol)
