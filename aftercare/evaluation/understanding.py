"""`aftercare eval nlu`: the encoder on held-out voices, or on any labelled file. Runs in the environment nlu, no service needed."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from aftercare.evaluation.cases import Case, CasesInvalid, case_arguments, cases_of, read_cases
from aftercare.evaluation.figures import Judged, SpanFigures, measure
from aftercare.evaluation.report import Report, show, write
from care.understanding import Understanding
from nlu.corpus import CorpusInvalid, read_corpus, voices_of
from nlu.evaluate import answers_to
from nlu.labels import ModelMismatch
from nlu.model import DEFAULT_MODEL, Encoder
from nlu.scores import most_probable, score


def judge(case: Case, answer: Understanding) -> Judged:
    """The case with the encoder's answer to it."""
    probable = most_probable(answer)
    return Judged(case, answer.acuity_level, probable, answer.acuity[probable], tuple(score.name for score in answer.intents))


def report_on_voices(encoder: Encoder, corpora: Path, chosen: str) -> Report:
    """The figures on a split (train, validation, test) or one voice. Raises `CorpusInvalid`."""
    examples = voices_of(read_corpus(corpora), chosen)
    answers = answers_to(encoder, [example.text for example in examples])
    scores = score(examples, answers)
    judged = [judge(case, answer) for case, answer in zip(cases_of(examples), answers, strict=True)]
    figures = measure(judged, SpanFigures.of(scores))
    return Report(title="Understanding", source=f"voices: {chosen}", messages=len(judged), left_out=0, versions={"encoder": encoder.version}, figures=figures)


def report_on_file(encoder: Encoder, path: Path, stands_for: str) -> Report:
    """The figures on the labelled lines of a file. Raises `CasesInvalid`."""
    cases, left_out = read_cases(path, stands_for)
    answers = answers_to(encoder, [case.text for case in cases])
    judged = [judge(case, answer) for case, answer in zip(cases, answers, strict=True)]
    versions = {"encoder": encoder.version}
    return Report(title="Understanding", source=path.name, messages=len(judged), left_out=left_out, versions=versions, figures=measure(judged))


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures and writes them where asked. Answers the exit code: 2 for a wrong file or model."""
    parser = case_arguments("nlu", "the encoder")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="folder of the weights (default: those that ship)")
    options = parser.parse_args(arguments)
    try:
        encoder = Encoder.load(options.model)
        report = report_on_file(encoder, options.jsonl, options.stands_for) if options.jsonl else report_on_voices(encoder, options.corpus, options.voices)
    except (ModelMismatch, CorpusInvalid, CasesInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    show(report, Console())
    write(report, options.json, options.html)
    return 0


if __name__ == "__main__":
    sys.exit(main())
