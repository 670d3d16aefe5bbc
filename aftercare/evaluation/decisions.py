"""`aftercare eval triage`: the decision of rules, encoder and model together, on held-out voices or any labelled file."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.progress import track

from aftercare.assembly import build_triage
from aftercare.evaluation.cases import Case, CasesInvalid, case_arguments, cases_of, read_cases
from aftercare.evaluation.figures import Judged, measure
from aftercare.evaluation.report import Report, show, write
from care.settings import settings
from care.triage.model import Report as PatientReport
from care.triage.model import Triage
from care.triage.service import make_ready
from nlu.corpus import CorpusInvalid, read_corpus, voices_of

_AT_ONCE = 4
_DEADLINE_S = 30.0
"""Longer than a turn's: what is measured here is the decision, not the machine. Each layer has its own limit within it, as in service."""


class LayerAway(Exception):
    """An engine did not answer, so that the figures would be of another service than ours."""


def decide_all(cases: list[Case]) -> list[Triage]:
    """The decision on each case, in their order. Raises `LayerAway`."""
    make_ready()  # else the first at once would each read the knowledge, all at the same time
    triage = build_triage(settings())

    def decide(case: Case) -> Triage:
        return triage.assess(PatientReport(text=case.text, context=case.context, understanding=None), _DEADLINE_S)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        decided = list(track(pool.map(decide, cases), description="cases", total=len(cases), console=Console(stderr=True)))
    away = Counter(vote.note for each in decided for vote in each.votes if "away" in vote.note)
    if away:
        told = "; ".join(f"{note}, {number} times" for note, number in away.most_common())
        raise LayerAway(f"of {len(cases)} decisions some were made without a layer ({told}); see that `aftercare status` shows nlu and vllm as ready")
    return decided


def report_on(cases: list[Case], source: str, left_out: int) -> Report:
    """The decisions' figures. Raises `LayerAway`."""
    decided = decide_all(cases)
    judged = [Judged(case, each.acuity, None, each.confidence) for case, each in zip(cases, decided, strict=True)]
    return Report(title="Triage", source=source, messages=len(judged), left_out=left_out, versions=decided[0].versions, figures=measure(judged))


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures and writes them where asked. Answers the exit code: 2 for a wrong file or an engine that is away."""
    parser = case_arguments("triage", "the decision")
    options = parser.parse_args(arguments)
    try:
        if options.jsonl:
            cases, left_out = read_cases(options.jsonl, options.stands_for)
            report = report_on(cases, options.jsonl.name, left_out)
        else:
            report = report_on(cases_of(voices_of(read_corpus(options.corpus), options.voices)), f"voices: {options.voices}", 0)
    except (CasesInvalid, CorpusInvalid, LayerAway) as error:
        print(error, file=sys.stderr)
        return 2
    show(report, Console())
    write(report, options.json, options.html)
    return 0


if __name__ == "__main__":
    sys.exit(main())
