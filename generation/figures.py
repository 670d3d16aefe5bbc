"""What a triage model is measured by: counts over held-out messages."""

from __future__ import annotations

from pydantic import BaseModel

from care.acuity import Acuity
from care.redflags import check
from care.triage.guard import Drafted, rejections
from generation.examples import Example
from generation.prompt import DraftMalformed, kept_to, read_draft


class Figures(BaseModel):
    """Counts over held-out messages; shares of them are properties."""

    messages: int = 0
    in_schema: int = 0
    acuity_right: int = 0
    too_low: int = 0
    emergencies: int = 0
    emergencies_called: int = 0
    serious: int = 0
    serious_seen: int = 0
    calm: int = 0
    calm_called_serious: int = 0
    findings_said: int = 0
    findings_wanted: int = 0
    findings_right: int = 0
    advice_said: int = 0
    advice_wanted: int = 0
    advice_right: int = 0
    guarded: int = 0
    guard_passed: int = 0
    longest_answer: int = 0
    seconds: float = 0.0

    def shares(self) -> dict[str, float | None]:
        """Each figure by its name, None where there was nothing to measure it on."""
        return {
            "in the schema": _share(self.in_schema, self.messages),
            "acuity right": _share(self.acuity_right, self.messages),
            "acuity too low": _share(self.too_low, self.messages),
            "emergencies called emergency": _share(self.emergencies_called, self.emergencies),
            "urgent or emergency seen as such": _share(self.serious_seen, self.serious),
            "calm messages called urgent or more": _share(self.calm_called_serious, self.calm),
            "findings: precision": _share(self.findings_right, self.findings_said),
            "findings: recall": _share(self.findings_right, self.findings_wanted),
            "advice: precision": _share(self.advice_right, self.advice_said),
            "advice: recall": _share(self.advice_right, self.advice_wanted),
            "replies that pass the guard": _share(self.guard_passed, self.guarded),
        }

    def count(self, wanted: Example, text: str) -> None:
        """Adds one answer."""
        level = wanted.draft.acuity
        serious = level.rank >= Acuity.URGENT.rank
        self.messages += 1
        self.emergencies += level is Acuity.EMERGENCY
        self.serious += serious
        self.calm += not serious
        self.advice_wanted += len(wanted.draft.advice)
        self.findings_wanted += len(wanted.draft.findings)
        try:
            draft = read_draft(text)
        except DraftMalformed:
            self.too_low += level is not Acuity.SELF_CARE
            return
        called = draft.acuity.rank >= Acuity.URGENT.rank
        self.in_schema += 1
        self.acuity_right += draft.acuity is level
        self.too_low += draft.acuity.rank < level.rank
        self.emergencies_called += level is Acuity.EMERGENCY and draft.acuity is Acuity.EMERGENCY
        self.serious_seen += serious and called
        self.calm_called_serious += not serious and called
        self.findings_said += len(draft.findings)
        self.findings_right += sum(each in wanted.draft.findings for each in draft.findings)
        if draft.reply:
            asked, flagged = wanted.request, bool(check(wanted.request.report, wanted.request.context))
            said = Drafted(draft.reply, kept_to(draft, asked).advice, asked.report, draft.acuity, asked.context.language, flagged)
            self.guarded += 1
            self.guard_passed += not rejections(said)
        self.advice_said += len(draft.advice)
        self.advice_right += sum(each in wanted.draft.advice for each in draft.advice)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
