"""The model card that lies beside the weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from nlu.agreement import Agreement, agreement
from nlu.corpus import Corpus
from nlu.evaluate import SHOWN, VoicesReport, evaluate_voices
from nlu.labels import CARD_FILE, WEIGHTS_FILE
from nlu.model import Encoder
from nlu.recipe import Recipe

_LIMITS = """\
- The corpus is small and written by hand for this project; its voices are invented, not patients. The figures say how the encoder does on
  invented voices it has not seen, not on patients.
- Some intents have only a few test messages: their figures move by ten points or more with one message.
- English, with a little Spanish and Polish inside English messages. Other languages are not understood.
- 256 tokens are read (about 1,200 characters of ordinary writing); what comes after is left to the red-flag rules.
- Emergencies are missed (see the table). It is never used alone: the red-flag rules run before it and nothing lowers what they set."""


_TRAINED, _BEGUN, _MEAN = "- Trained on ", "- Begun with ", "- The mean of "


def trained_lines(corpus: Corpus, recipe: Recipe, epochs: list[int], seconds: float, begun_with: str = "") -> list[str]:
    """The card's lines on how the weights were made."""
    voices = len({example.voice for example in corpus.train})
    lines = [f"{_TRAINED}{len(corpus.train)} messages of {voices} voices, seed {_listed(recipe.seeds)}, best epoch {_listed(epochs)}, {seconds:.0f} s."]
    return lines + ([f"{_BEGUN}the weights of `{begun_with}`, which were trained on fewer voices."] if begun_with else [])


def trained_lines_of(folder: Path) -> list[str]:
    """Those lines as the card in the folder has them."""
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    return [line for line in card.splitlines() if line.startswith((_TRAINED, _BEGUN, _MEAN))]


def merged_lines(folders: list[Path]) -> list[str]:
    """Those lines for the mean of the folders' models: each one's, said once."""
    lines = dict.fromkeys(line for folder in folders for line in trained_lines_of(folder))
    return [*lines, f"{_MEAN}{len(folders)} such trainings' weights."]


def write_card(folder: Path, encoder: Encoder, corpus: Corpus, trained: list[str]) -> VoicesReport:
    """Measures the saved model on the held-out voices and writes the card; answers the figures on the test voices."""
    test = evaluate_voices(encoder, corpus, corpus.test)
    validation = evaluate_voices(encoder, corpus, corpus.validation)
    acuities = Counter(str(example.acuity) for example in corpus.test)
    megabytes = (folder / WEIGHTS_FILE).stat().st_size / 1e6
    lines = [
        f"# {encoder.version}",
        "",
        "What a patient's message means: intents (several at a time), acuity (four levels) and marked words. Served by `nlu.service`.",
        "",
        "- Base: all-MiniLM-L6-v2 (22.7 M weights, frozen; Apache-2.0). Trained: low-rank adapters",
        f"  of rank {encoder.labels.shape.rank} and four heads, {megabytes:.1f} MB.",
        *trained,
        f"- Early stopping, thresholds and temperatures: {len(corpus.validation)} messages of {', '.join(validation.voices)}.",
        f"- Tested on {len(corpus.test)} messages of {', '.join(test.voices)}",
        f"  ({', '.join(f'{count} {name}' for name, count in acuities.most_common())}),",
        f"  {test.seen_in_training} of them worded exactly like a training message.",
        *_second_reader(agreement(corpus)),
        "- Made again with `aftercare train nlu` (`--start` with the weights that it was begun with, `--merge` for a mean),",
        "  measured again with `aftercare eval nlu --voices test`.",
        "",
        "## Figures on voices not trained on",
        "",
        f"| | test | {' | '.join(test.voices)} | validation |",
        f"| --- | --- | {' | '.join('---' for _ in test.voices)} | --- |",
    ]
    for field, name in SHOWN:
        columns = [test.overall, *(test.by_voice[voice] for voice in test.voices), validation.overall]
        lines.append(f"| {name} | " + " | ".join(_figure(getattr(column, field)) for column in columns) + " |")
    counts = Counter(str(intent) for example in corpus.test for intent in example.intents)
    lines += ["", "The epoch, the thresholds and the temperatures were chosen on the validation voices: their figures are flattered by that.", ""]
    lines += ["## Intents on the test voices", "", "| intent | messages | F1 |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {counts[name]} | {value:.2f} |" for name, value in test.overall.intent_f1.items()]
    lines += ["", "## Spans on the test voices", "", "| span | marked | F1, exact borders |", "| --- | --- | --- |"]
    marked = Counter(str(span.label) for example in corpus.test for span in example.spans)
    lines += [f"| `{name}` | {marked[name]} | {value:.2f} |" for name, value in test.overall.span_f1_by_label.items()]
    lines += ["", "## Limits", "", _LIMITS, ""]
    (folder / CARD_FILE).write_text("\n".join(lines), encoding="utf-8")
    return test


def _second_reader(found: Agreement | None) -> list[str]:
    if found is None:
        return []
    return [
        f"- Labels: of {found.messages} messages a second reader gave {found.same_intents:.0%} the same intents and {found.same_acuity:.0%} the same acuity",
        f"  (kappa {found.acuity_kappa:.2f}); another's spans agree with F1 {found.span_f1:.2f} (exact borders; {found.span_overlap_f1:.2f} overlapping).",
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
