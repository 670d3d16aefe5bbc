"""What each setting of the recipe gains: short runs of equal length, each with one setting changed alone (`aftercare train nlu --ablation`)."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from nlu.corpus import Corpus
from nlu.evaluate import answers_to
from nlu.gazetteer import build
from nlu.model import Encoder
from nlu.recipe import read_recipe
from nlu.saving import save
from nlu.scores import Scores, score
from nlu.templates import Templates
from nlu.train import Materials, quality, train

ABLATION_FILE = "ablation.md"
_NO_AUGMENTATION = {
    f"augment.{name}": 0.0 for name in ("typo", "punctuation", "shorthand", "join", "compose", "synonym", "exchange", "denied", "templates", "rules")
}
_MESSAGES, _EPOCHS = 1_200, 3
_SHORT: dict[str, Any] = {"epochs": _EPOCHS, "augment.rules": 0.4}
"""A run's length: the first figures of a training, not its best ones, so that a dozen runs take half an hour on one core. Its steps are the recipe's:
longer ones learn less."""


@dataclass(frozen=True)
class Change:
    """A setting changed alone; `fields` of the recipe by dotted name."""

    name: str
    fields: dict[str, Any]


CHANGES = (
    Change("the recipe as it is", {}),
    Change("another seed", {"seeds": [12]}),
    Change("no augmentation", _NO_AUGMENTATION),
    Change("no made messages, none of the rules'", {"augment.templates": 0.0, "augment.denied": 0.0, "augment.rules": 0.0}),
    Change("no gazetteer", {"shape.gazetteer": False}),
    Change("no linear reading", {"linear": False}),
    Change("no class weights", {"class_weights.intents": 0.0, "class_weights.acuity": 0.0, "class_weights.inside_spans": 1.0}),
    Change("no averaging of weights", {"averaging": 0.0}),
    Change("base frozen, heads alone", {"shape.mode": "frozen"}),
    Change("full fine-tuning", {"shape.mode": "full", "learning_rate": 0.0002}),
    Change("with FGM", {"adversarial": 0.5}),
    Change("with R-Drop", {"agreement": 0.5}),
)
_COLUMNS = (
    ("intent_macro_f1", "intents"),
    ("span_f1", "spans"),
    ("status_f1", "status"),
    ("acuity_accuracy", "acuity"),
    ("emergency_sensitivity", "emergencies"),
    ("false_alarm_rate", "false alarms"),
)


def ablate(recipe: Path, out: Path, corpus: Corpus, templates: Templates, console: Console) -> None:
    """Runs every change and writes the table to `ablation.md` in `out`, whole after each run. The first two runs together are the ensemble."""
    part = Corpus(corpus.train[:: max(1, len(corpus.train) // _MESSAGES)], corpus.validation, corpus.test)
    gazetteer = build()
    rows: list[tuple[str, Scores, float]] = []
    networks: list[Any] = []
    out.mkdir(parents=True, exist_ok=True)

    def measured(name: str, weights: Path, began: float) -> None:
        answers = answers_to(Encoder.load(weights), [example.text for example in corpus.validation])
        rows.append((name, score(corpus.validation, answers), time.monotonic() - began))
        (out / ABLATION_FILE).write_text(_table(rows, len(part.train), len(corpus.validation)), encoding="utf-8")

    for change in CHANGES:
        materials = Materials(read_recipe(recipe, {**_SHORT, **change.fields}), part, templates, gazetteer)
        console.print(change.name)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights"
            trained = train(materials, weights, console, SummaryWriter(folder), to_the_end=True)
            measured(change.name, weights, began)
            if len(networks) < 2:
                networks += trained.networks
            if len(rows) == 2:
                save(weights, networks, materials.wide, materials.recipe.shape, gazetteer, corpus.validation, materials.prior)
                measured("these two seeds averaged, an ensemble", weights, began - rows[0][2])


def _table(rows: list[tuple[str, Scores, float]], trained: int, validated: int) -> str:
    first = rows[0][1]
    lines = [
        "# What each setting gains",
        "",
        f"Made by `aftercare train nlu --ablation`: {_EPOCHS} epochs on {trained} messages a run, measured on the {validated} validation messages,",
        "on which the thresholds were chosen too. Each row changes one setting of `nlu/recipes/reference.yaml` alone; behind the figure its",
        "difference from the first row. The runs are short and one each: what differs by less than another seed does says nothing.",
        "",
        "| run | " + " | ".join(name for _, name in _COLUMNS) + " | sum | seconds |",
        "| --- |" + " --- |" * (len(_COLUMNS) + 2),
    ]
    for name, scores, seconds in rows:
        cells = [_cell(getattr(scores, field), getattr(first, field)) for field, _ in _COLUMNS]
        lines.append(f"| {name} | " + " | ".join([*cells, _cell(quality(scores), quality(first)), f"{seconds:.0f}"]) + " |")
    lines += ["", "Sum: intents + spans + acuity + emergencies - false alarms, which early stopping goes by."]
    return "\n".join(lines) + "\n"


def _cell(value: float | None, first: float | None) -> str:
    if value is None or first is None:
        return "-"
    return f"{value:.3f}" if value == first else f"{value:.3f} ({value - first:+.3f})"
