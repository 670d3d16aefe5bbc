"""Trains the encoder: `python -m nlu.train --recipe nlu/recipes/reference.yaml --out nlu/weights`."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from care.acuity import Acuity
from care.settings import settings
from care.understanding import Intent, SpanLabel
from nlu.augment import augmented, may_preface
from nlu.calibrate import best_temperatures, best_thresholds
from nlu.card import write_card
from nlu.corpus import CORPORA, Corpus, CorpusInvalid, Example, read_corpus
from nlu.evaluate import answers_to
from nlu.labels import LABELS_FILE, WEIGHTS_FILE, AdapterShape, LabelFile, Temperatures, tag_of, weights_digest
from nlu.model import DEFAULT_MODEL, Encoder, MultiTask
from nlu.recipe import Recipe, RecipeInvalid, read_recipe
from nlu.scores import Scores, score
from nlu.tokens import Tokenised, batch_of, tokenise

INTENTS, ACUITIES, SPANS = list(Intent), list(Acuity), list(SpanLabel)
_IGNORED = -100
REFERENCE = Path(__file__).parent / "recipes" / "reference.yaml"


@dataclass(frozen=True)
class Targets:
    """What the heads should say for a batch: `(texts, intents)`, `(texts,)`, `(texts, tokens)`."""

    intents: Any
    acuity: Any
    tags: Any


def targets_of(examples: list[Example], tokenised: list[Tokenised]) -> Targets:
    """The labels of the examples as tensors; special tokens and padding are ignored."""
    intents = torch.zeros(len(examples), len(INTENTS))
    tags = torch.full((len(examples), max(len(tokens.ids) for tokens in tokenised)), _IGNORED)
    for row, (example, tokens) in enumerate(zip(examples, tokenised, strict=True)):
        for intent in example.intents:
            intents[row, INTENTS.index(intent)] = 1
        begun: set[int] = set()
        for column, place in enumerate(tokens.places):
            if place is None:
                continue
            inside = next((number for number, span in enumerate(example.spans) if span.start < place[1] and place[0] < span.end), None)
            tags[row, column] = 0 if inside is None else tag_of(SPANS.index(example.spans[inside].label), begins=inside not in begun)
            begun |= set() if inside is None else {inside}
    return Targets(intents, torch.tensor([ACUITIES.index(example.acuity) for example in examples]), tags)


class Trainer:
    """One training run: `fit` leaves the best weights on disk."""

    def __init__(self, recipe: Recipe, corpus: Corpus, logs: SummaryWriter) -> None:
        self.recipe, self.corpus, self.logs = recipe, corpus, logs
        self.rng = random.Random(recipe.seed)  # noqa: S311
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.threads)
        shape = recipe.adapters
        self.shape = AdapterShape(rank=shape.rank, alpha=shape.alpha, targets=shape.targets)
        self.network = MultiTask(self.shape, shape.dropout)
        counts = Counter(example.acuity for example in corpus.train)
        self.prior = {level: (counts[level] + 1) / (len(corpus.train) + len(ACUITIES)) for level in ACUITIES}
        balance = torch.tensor([self.prior[level] ** -recipe.acuity_balance for level in ACUITIES])
        self.intent_loss = nn.BCEWithLogitsLoss(pos_weight=torch.full((len(INTENTS),), recipe.positive_weight))
        self.acuity_loss = nn.CrossEntropyLoss(weight=balance / balance.mean())
        self.tag_loss = nn.CrossEntropyLoss(ignore_index=_IGNORED)
        heads: list[Any] = []
        adapters: list[Any] = []
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                (adapters if name.startswith("bert.") else heads).append(parameter)
        groups = [{"params": adapters, "lr": recipe.learning_rate}, {"params": heads, "lr": recipe.head_learning_rate}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.steps = recipe.epochs * -(-len(corpus.train) // recipe.batch_size)
        warm = max(1, int(self.steps * recipe.warmup))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min((step + 1) / warm, max(0.02, (self.steps - step) / max(1, self.steps - warm)))
        )

    def fit(self, console: Console, folder: Path) -> int:
        """Trains until the recipe's epochs are done or validation stops improving; answers the best epoch, which lies in `folder`."""
        best, best_epoch = -1.0, 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("training", total=self.steps)
            for epoch in range(1, self.recipe.epochs + 1):
                loss = self._epoch(lambda: progress.advance(task))
                scores = self._validate()
                quality = _quality(scores)
                for name in ("intent_macro_f1", "span_f1", "acuity_accuracy", "emergency_sensitivity", "over_call_rate"):
                    self.logs.add_scalar(f"validation/{name}", getattr(scores, name) or 0.0, epoch)
                self.logs.add_scalar("train/loss", loss, epoch)
                progress.console.print(
                    f"epoch {epoch}: loss {loss:.3f}, validation intents {scores.intent_macro_f1 or 0:.3f}, "
                    f"spans {scores.span_f1 or 0:.3f}, acuity {scores.acuity_accuracy or 0:.3f}, "
                    f"emergencies {scores.emergency_sensitivity or 0:.3f}"
                )
                if quality > best:
                    best, best_epoch = quality, epoch
                    self.save(folder)
                elif epoch - best_epoch >= self.recipe.patience:
                    progress.console.print(f"no better for {self.recipe.patience} epochs: stopped")
                    break
        return best_epoch

    def _epoch(self, advance: Any) -> float:
        self.network.train()
        prefaces = [example for example in self.corpus.train if may_preface(example)]
        examples = [augmented(example, prefaces, self.recipe.augment, self.rng) for example in self.corpus.train]
        self.rng.shuffle(examples)
        size = self.recipe.batch_size
        pool = 8 * size
        # similar lengths together within a pool of eight batches: little padding, still shuffled
        ordered = [example for at in range(0, len(examples), pool) for example in sorted(examples[at : at + pool], key=lambda one: len(one.text))]
        batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
        self.rng.shuffle(batches)
        total = 0.0
        for batch in batches:
            loss = self._loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([parameter for parameter in self.network.parameters() if parameter.requires_grad], 1.0)
            self.optimizer.step()
            self.schedule.step()
            total += float(loss.detach())
            advance()
        return total / len(batches)

    def _loss(self, examples: list[Example]) -> Any:
        tokenised = [tokenise(example.text) for example in examples]
        targets = targets_of(examples, tokenised)
        logits = self.network(batch_of(tokenised))
        weights = self.recipe.loss
        return (
            weights.intents * self.intent_loss(logits.intents, targets.intents)
            + weights.acuity * self.acuity_loss(logits.acuity, targets.acuity)
            + weights.spans * self.tag_loss(logits.tags.flatten(0, 1), targets.tags.flatten())
        )

    def labels(self, weights_sha256: str, temperatures: Temperatures, thresholds: dict[Intent, float]) -> LabelFile:
        """The label file for the weights as they are."""
        return LabelFile(
            adapters=self.shape,
            intents=INTENTS,
            acuities=ACUITIES,
            spans=SPANS,
            thresholds=thresholds,
            temperatures=temperatures,
            prior=self.prior,
            weights_sha256=weights_sha256,
        )

    def _validate(self) -> Scores:
        plain = self.labels("", Temperatures(), dict.fromkeys(INTENTS, 0.5))
        return score(self.corpus.validation, answers_to(Encoder(self.network, plain), [example.text for example in self.corpus.validation]))

    def save(self, folder: Path) -> None:
        """Writes weights and label file, thresholds and temperatures chosen on the validation voices."""
        folder.mkdir(parents=True, exist_ok=True)
        tokenised = [tokenise(example.text) for example in self.corpus.validation]
        wanted = targets_of(self.corpus.validation, tokenised)
        plain = Encoder(self.network, self.labels("", Temperatures(), dict.fromkeys(INTENTS, 0.5)))
        parts = [plain.logits(tokenised[at : at + 32]) for at in range(0, len(tokenised), 32)]
        intents, acuity = torch.cat([part.intents for part in parts]), torch.cat([part.acuity for part in parts])
        temperatures = best_temperatures(intents, acuity, wanted.intents, wanted.acuity)
        thresholds = best_thresholds(torch.sigmoid(intents / temperatures.intents), wanted.intents, INTENTS)
        save_file(self.network.trained_state(), str(folder / WEIGHTS_FILE))
        labels = self.labels(weights_digest(folder), temperatures, thresholds)
        (folder / LABELS_FILE).write_text(labels.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _quality(scores: Scores) -> float:
    """What early stopping looks at: the three tasks alike, with the emergencies found and the needless alarms."""
    acuity = (scores.acuity_accuracy or 0.0) + (scores.emergency_sensitivity or 0.0) - (scores.over_call_rate or 0.0)
    return (scores.intent_macro_f1 or 0.0) + (scores.span_f1 or 0.0) + acuity


def main(arguments: list[str] | None = None) -> int:
    """Trains, saves, and writes the model card. Answers the exit code: 2 for a recipe or corpus with a mistake."""
    parser = argparse.ArgumentParser(prog="python -m nlu.train", description="Train the encoder and write its weights, labels and model card.")
    parser.add_argument("--recipe", type=Path, default=REFERENCE, help="settings of the run (default: the reference recipe)")
    parser.add_argument("--out", type=Path, default=DEFAULT_MODEL, help="folder for the weights (default: nlu/weights)")
    parser.add_argument("--corpus", type=Path, default=CORPORA, help="folder with voices/ and splits.yaml (default: nlu/corpora)")
    parser.add_argument("--logs", type=Path, help="folder for TensorBoard (default: runs/nlu under the home folder)")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        recipe, corpus = read_recipe(options.recipe), read_corpus(options.corpus)
    except (RecipeInvalid, CorpusInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    console.print(f"{len(corpus.train)} messages to train on, {len(corpus.validation)} to validate, {len(corpus.test)} to test")
    logs = SummaryWriter(str(options.logs or settings().home / "runs" / "nlu" / time.strftime("%Y%m%d-%H%M%S")))
    began = time.monotonic()
    trainer = Trainer(recipe, corpus, logs)
    epoch = trainer.fit(console, options.out)
    seconds = time.monotonic() - began
    logs.close()
    encoder = Encoder.load(options.out)
    write_card(options.out, encoder, corpus, recipe, epoch=epoch, seconds=seconds)
    console.print(f"{encoder.version} written to {options.out} (best epoch {epoch}, {seconds:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
