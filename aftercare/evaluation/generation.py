"""`aftercare eval generation`: the drafts, the decision and what each layer brings to it, the advice, the guard, reading grade and latency."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean

import textstat
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from aftercare.assembly import build_drafter, build_nlu
from aftercare.bench.figures import Spread
from aftercare.evaluation.ablation import DEADLINE_S, WAYS, Said, decide, decisions, leaning_encoder, without_graph
from aftercare.evaluation.cases import Case, CasesInvalid, case_arguments, cases_of, read_cases
from aftercare.evaluation.decisions import LayerAway
from aftercare.evaluation.figures import AcuityFigures, Judged, acuity_figures
from care.acuity import Acuity
from care.retrieval import advice_for
from care.settings import ROOT, settings
from care.triage.model import DraftUnavailable, PatientContext, Report, TriageDraft
from care.triage.request import Findings, request_for
from care.triage.service import make_ready
from care.understanding import UnderstandingUnavailable
from generation.prompt import PROMPT_VERSION
from nlu.corpus import CorpusInvalid, read_corpus, voices_of

ADVICE = ROOT / "tests/clinical/suites/advice.jsonl"
_AT_ONCE = 4
_SHOWN = {
    "accuracy": "acuity right",
    "sensitivity": "emergencies called",
    "at_least_urgent": "called urgent or more",
    "false_alarms": "others called emergency",
    "over_called": "called too high",
    "under_called": "called too low",
}


class AdviceFigures(BaseModel):
    """Advice given against advice labelled: over all statements, and the share of reports given at least one labelled statement."""

    reports: int
    precision: float | None
    recall: float | None
    at_least_one: float | None


class GenerationReport(BaseModel):
    """What is measured. `schema_valid` is the share of the model's answers that are in the schema; a model that gave none is an error, not a figure."""

    source: str
    messages: int
    versions: dict[str, str]
    schema_valid: float
    unanswered: dict[str, int]
    ways: dict[str, AcuityFigures]
    advice: dict[str, AdviceFigures]
    replies_drafted: int
    replies_sent_as_drafted: int
    guard_rejections: dict[str, int]
    grade_mean: float | None
    grade_highest: float | None
    draft_latency: Spread | None


def ask_all(cases: Sequence[Case]) -> tuple[list[Said], tuple[str, str]]:
    """What encoder and model say of each case, with and without the graph's proposals, and the model's versions. Raises `LayerAway`."""
    make_ready()
    understander, drafter = build_nlu(settings()), build_drafter(settings())

    def ask(case: Case) -> Said:
        understanding, alike = understander.understand(case.text), understander.alike(case.text)
        findings = Findings(case.text, case.context)
        offered = advice_for(case.text, findings.present, case.context, likeness=alike)
        request = request_for(Report(text=case.text, context=case.context, understanding=None), findings, offered)
        began = time.perf_counter()
        try:
            draft: TriageDraft | None = drafter.draft(request, DEADLINE_S)
            failed = ""
        except DraftUnavailable as error:
            draft, failed = None, error.reason
        seconds = time.perf_counter() - began
        try:
            graphless = drafter.draft(without_graph(request), DEADLINE_S) if draft is not None else None
        except DraftUnavailable:
            graphless = None
        return Said(understanding, draft, graphless, seconds, failed, alike)

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            said = list(track(pool.map(ask, cases), description="cases", total=len(cases), console=Console(stderr=True)))
    except UnderstandingUnavailable as error:
        raise LayerAway(f"the encoder did not answer ({type(error).__name__}); see that `aftercare status` shows nlu as ready") from error
    if all(each.draft is None for each in said):
        raise LayerAway(f"the model answered nothing ({said[0].failed}); see that `aftercare status` shows vllm as ready")
    return said, (drafter.version, PROMPT_VERSION)


def report_on(cases: Sequence[Case], source: str, labelled: Sequence[tuple[Case, frozenset[str]]]) -> GenerationReport:
    """The figures over `cases`, and of the advice over `labelled`. Raises `LayerAway`."""
    asked = [*cases, *(case for case, _ in labelled)]
    said, versions = ask_all(asked)
    decided = [decide(case.text, case.context, each, versions) for case, each in zip(asked, said, strict=True)]
    drafts, triages = said[: len(cases)], decided[: len(cases)]
    by_way: dict[str, list[Judged]] = {way: [] for way in WAYS}
    for case, each in zip(cases, drafts, strict=True):
        for way, acuity in decisions(case.text, case.context, each, versions).items():
            by_way[way].append(Judged(case, acuity, None, 1.0))
    by_way["encoder, leaning as far"] = _leaning(drafts, by_way)
    failed = Counter(each.failed for each in drafts if each.failed)
    answered = sum(each.draft is not None or is_answer(each.failed) for each in drafts)
    wanted = [right for _, right in labelled]
    grades = [textstat.flesch_kincaid_grade(each.reply) for each in triages if each.reply]
    written = [each for each in triages if each.drafted or each.rejected]
    timed = [each.seconds for each in drafts if each.draft is not None]
    return GenerationReport(
        source=source,
        messages=len(cases),
        versions=triages[0].versions,
        schema_valid=sum(each.draft is not None for each in drafts) / answered,
        unanswered=dict(failed),
        ways={way: acuity_figures(judged) for way, judged in by_way.items()},
        advice={
            "drafted": _advice([each.draft.advice if each.draft else [] for each in said[len(cases) :]], wanted),
            "given": _advice([each.advice for each in decided[len(cases) :]], wanted),
        },
        replies_drafted=len(written),
        replies_sent_as_drafted=sum(each.drafted for each in written),
        guard_rejections=dict(Counter(reason for each in written for reason in each.rejected).most_common()),
        grade_mean=mean(grades) if grades else None,
        grade_highest=max(grades, default=None),
        draft_latency=Spread.of(timed) if len(timed) > 1 else None,
    )


def _leaning(said: Sequence[Said], by_way: dict[str, list[Judged]]) -> list[Judged]:
    """The encoder alone, leaning until it finds as many emergencies as all layers do."""
    alone = by_way["encoder alone"]
    emergencies = [each.case.right == {Acuity.EMERGENCY} for each in alone]
    found = sum(each.called is Acuity.EMERGENCY for each, emergency in zip(by_way["all layers"], emergencies, strict=True) if emergency)
    votes = leaning_encoder(said, [each.called for each in alone], emergencies, found)
    return [replace(each, called=vote) for each, vote in zip(alone, votes, strict=True)]


def is_answer(failed: str) -> bool:
    """Whether the model did answer where no draft came of it: out of the schema, cut off or endless, in the client's words."""
    return any(words in failed for words in ("not in the schema", "did not end by itself", "is too long"))


def _advice(given: Sequence[Sequence[str]], wanted: Sequence[frozenset[str]]) -> AdviceFigures:
    right = sum(len(right.intersection(said)) for said, right in zip(given, wanted, strict=True))
    said, labelled = sum(map(len, given)), sum(map(len, wanted))
    hits = sum(bool(right.intersection(said)) for said, right in zip(given, wanted, strict=True))
    return AdviceFigures(
        reports=len(wanted),
        precision=right / said if said else None,
        recall=right / labelled if labelled else None,
        at_least_one=hits / len(wanted) if wanted else None,
    )


def read_advice(path: Path) -> list[tuple[Case, frozenset[str]]]:
    """Reports with the advice that fits them: lines of {"id", "text", "advice"}, with a protocol where there is one. Raises `CasesInvalid`."""
    read = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            case = Case(str(row["id"]), row["text"], frozenset(), "", frozenset(), PatientContext(protocol=row.get("protocol")))
            read.append((case, frozenset(row["advice"])))
        except (ValueError, KeyError, TypeError) as error:
            raise CasesInvalid(f'{path}: line {number}: {error}; each line is {{"id", "text", "advice": [ids]}}') from error
    return read


def show(report: GenerationReport, console: Console) -> None:
    """Prints the report."""
    table = Table("", *_SHOWN.values(), title=f"{report.source}: {report.messages} messages")
    for way, each in report.ways.items():
        table.add_row(way, *(_share(getattr(each, field)) for field in _SHOWN))
    console.print(table)
    for name, value in told(report):
        console.print(f"{name}: {value}")


def told(report: GenerationReport) -> list[tuple[str, str]]:
    """The figures beside the table of layers, as lines."""
    lines = [("answers in the schema", _share(report.schema_valid))]
    for name, each in report.advice.items():
        shares = f"precision {_share(each.precision)}, recall {_share(each.recall)}, at least one {_share(each.at_least_one)}"
        lines.append((f"advice {name}, on {each.reports} labelled reports", shares))
    lines.append(("replies drafted, and sent as drafted", f"{report.replies_drafted}, {report.replies_sent_as_drafted}"))
    lines.append(("guard rejections", ", ".join(f"{reason} {number}" for reason, number in report.guard_rejections.items()) or "none"))
    lines.append(("reading grade of replies, mean and highest", f"{_share(report.grade_mean)}, {_share(report.grade_highest)}"))
    if report.draft_latency is not None:
        lines.append((f"a draft, {_AT_ONCE} at once", f"p50 {report.draft_latency.p50_ms:g} ms, p95 {report.draft_latency.p95_ms:g} ms"))
    lines.append(("versions", ", ".join(f"{part} {version}" for part, version in report.versions.items())))
    return lines


def page(report: GenerationReport) -> str:
    """The report as an HTML page."""
    pages = Environment(loader=PackageLoader("aftercare.evaluation"), autoescape=select_autoescape())
    pages.filters["share"] = _share
    return pages.get_template("generation.html").render(
        report=report, lines=told(report), columns=[each for each in AcuityFigures.model_fields if each != "probable_accuracy"]
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures and writes them where asked. Answers the exit code: 2 for a wrong file or an engine that is away."""
    parser = case_arguments("generation", "drafts, decision and each layer")
    parser.add_argument("--advice", type=Path, default=ADVICE, help="reports labelled with the advice that fits")
    options = parser.parse_args(arguments)
    try:
        labelled = read_advice(options.advice) if options.advice.exists() else []
        if options.jsonl:
            cases, _ = read_cases(options.jsonl, options.stands_for)
            report = report_on([case for case in cases if case.right], options.jsonl.name, labelled)
        else:
            report = report_on(cases_of(voices_of(read_corpus(options.corpus), options.voices)), f"voices: {options.voices}", labelled)
    except (CasesInvalid, CorpusInvalid, LayerAway) as error:
        print(error, file=sys.stderr)
        return 2
    show(report, Console())
    for path, text in ((options.json, report.model_dump_json(indent=1) + "\n"), (options.html, page(report))):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
