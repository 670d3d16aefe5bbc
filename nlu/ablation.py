"""What each setting of the recipe gains: short runs from several seeds, each with one setting changed alone (`aftercare train nlu --ablation`)."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from nlu.augment import Augmentation
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
_AUGMENTATIONS = tuple(Augmentation.model_fields)
_MESSAGES, _EPOCHS = 1_200, 3
_SHORT: dict[str, Any] = {"epochs": _EPOCHS, "augment.rules": 0.4}
"""A run's length: the first figures of a training, not its best ones, a minute or two on one core. Its steps are the recipe's: longer ones
learn less."""


@dataclass(frozen=True)
class Change:
    """A setting changed alone; `fields` of the recipe by dotted name."""

    name: str
    fields: dict[str, Any]


CHANGES = (
    Change("the recipe as it is", {}),
    Change("no augmentation", {f"augment.{name}": 0.0 for name in _AUGMENTATIONS}),
    Change("no class weights", {"class_weights.intents": 0.0, "class_weights.acuity": 0.0, "class_weights.inside_spans": 1.0}),
    Change("no weight decay", {"weight_decay": 0.0}),
    Change("no dropout before the heads", {"dropout": 0.0}),
    Change("with FGM", {"adversarial": 0.5}),
    Change("with R-Drop", {"agreement": 0.5}),
    Change("base frozen, heads alone", {"shape.mode": "frozen"}),
    Change("full fine-tuning", {"shape.mode": "full", "learning_rate": 0.0002}),
    Change("no averaging of weights", {"averaging": 0.0}),
    Change("no gazetteer", {"shape.gazetteer": False}),
    Change("no linear reading", {"linear": False}),
    Change("no made messages, none of the rules'", {"augment.templates": 0.0, "augment.denied": 0.0, "augment.rules": 0.0}),
    *(Change(f"no augmentation by `{name}`", {f"augment.{name}": 0.0}) for name in _AUGMENTATIONS),
)
_COLUMNS = (
    ("intent_macro_f1", "intents"),
    ("span_f1", "spans"),
    ("status_f1", "status"),
    ("acuity_accuracy", "acuity"),
    ("emergency_sensitivity", "emergencies"),
    ("false_alarm_rate", "false alarms"),
)


@dataclass(frozen=True)
class Row:
    """A run's scores, one a seed, and the seconds that all took."""

    name: str
    scores: list[Scores]
    seconds: float


def ablate(recipe: Path, out: Path, corpus: Corpus, templates: Templates, console: Console, seeds: list[int]) -> None:
    """Runs every change from every seed and writes the table to `ablation.md` in `out`, whole after each change."""
    part = Corpus(corpus.train[:: max(1, len(corpus.train) // _MESSAGES)], corpus.validation, corpus.test)
    gazetteer = build()
    rows: list[Row] = []
    out.mkdir(parents=True, exist_ok=True)

    def scored(weights: Path) -> Scores:
        return score(corpus.validation, answers_to(Encoder.load(weights), [example.text for example in corpus.validation]))

    for change in CHANGES:
        console.print(change.name)
        began = time.monotonic()
        scores: list[Scores] = []
        networks: list[Any] = []
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights"
            for seed in seeds:
                materials = Materials(read_recipe(recipe, {**_SHORT, **change.fields, "seeds": [seed]}), part, templates, gazetteer)
                networks += train(materials, weights, console, SummaryWriter(folder), to_the_end=True).networks
                scores.append(scored(weights))
            rows.append(Row(change.name, scores, time.monotonic() - began))
            if len(rows) == 1 and len(seeds) > 1:
                save(weights, networks, materials.wide, materials.recipe.shape, gazetteer, corpus.validation, materials.prior)
                rows.append(Row("these networks averaged, an ensemble", [scored(weights)], rows[0].seconds))
        (out / ABLATION_FILE).write_text(table(rows, seeds, len(part.train), len(corpus.validation)), encoding="utf-8")


def table(rows: list[Row], seeds: list[int], trained: int, validated: int) -> str:
    """The rows as Markdown: the mean over the seeds with its spread, and the difference of the means from the first row."""
    first = rows[0].scores
    lines = [
        "# What each setting gains",
        "",
        f"Made by `aftercare train nlu --ablation --seeds {' '.join(map(str, seeds))}`: {_EPOCHS} epochs on {trained} messages a run, measured on the",
        f"{validated} validation messages, on which the thresholds were chosen too. Each row changes one setting of `nlu/recipes/reference.yaml` alone.",
        "A figure is the mean over the seeds, ± its standard deviation from seed to seed, and in brackets its difference from the first row's:",
        "one no larger than the deviations says nothing.",
        "",
        "| run | " + " | ".join(name for _, name in _COLUMNS) + " | sum | seconds |",
        "| --- |" + " --- |" * (len(_COLUMNS) + 2),
    ]
    for row in rows:
        cells = [_cell([getattr(each, field) for each in row.scores], [getattr(each, field) for each in first]) for field, _ in _COLUMNS]
        whole = _cell([quality(each) for each in row.scores], [quality(each) for each in first])
        lines.append(f"| {row.name} | " + " | ".join([*cells, whole, f"{row.seconds:.0f}"]) + " |")
    lines += ["", "Sum: intents + spans + acuity + emergencies - false alarms, which early stopping goes by."]
    return "\n".join(lines) + "\n"


def _cell(values: list[float | None], first: list[float | None]) -> str:
    found, compared = [value for value in values if value is not None], [value for value in first if value is not None]
    if not found or not compared:
        return "-"
    spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
    difference = "" if values == first else f" ({mean(found) - mean(compared):+.3f})"
    return f"{mean(found):.3f}{spread}{difference}"
