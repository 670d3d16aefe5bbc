"""Trains the encoder: `aftercare train nlu`, or `python -m nlu.train --recipe nlu/recipes/reference.yaml --out nlu/weights`."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from transformers import get_cosine_schedule_with_warmup

from care.acuity import Acuity
from care.settings import settings
from nlu.augment import Augmenter
from nlu.card import merged_lines, trained_lines, trained_lines_of, write_card
from nlu.corpus import CORPORA, Corpus, CorpusInvalid, Example, read_corpus
from nlu.gazetteer import Gazetteer, build
from nlu.labels import ModelMismatch, read_labels
from nlu.merge import merge
from nlu.model import DEFAULT_MODEL, Encoder, MultiTask, first_member, load_trained
from nlu.recipe import Recipe, RecipeInvalid, read_recipe
from nlu.saving import calibrate_anew, calibrated, save
from nlu.scores import Scores, score
from nlu.targets import IGNORED, Loss, disagreement, targets_of
from nlu.templates import TEMPLATES, Templates, read_templates, told_by_rules
from nlu.tokens import batch_of, tokenise
from nlu.wide import Wide, fitted

REFERENCE = Path(__file__).parent / "recipes" / "reference.yaml"
_CHECKPOINT = "checkpoint-{seed}.pt"
_MADE = 1500
"""Made messages for the linear part, which sees each but once."""
_SHOWN = ("intent_macro_f1", "span_f1", "acuity_accuracy", "emergency_sensitivity", "false_alarm_rate")


@dataclass(frozen=True)
class Materials:
    """What every network of a run is trained with."""

    recipe: Recipe
    corpus: Corpus
    templates: Templates
    gazetteer: Gazetteer
    start: Path | None = None
    """A model of the same shape whose weights the networks begin with."""

    @cached_property
    def wide(self) -> Wide:
        """The linear reading of the same messages, made ones among them."""
        if not self.recipe.linear:
            return Wide.silent()
        rng, augment = random.Random(self.recipe.seeds[0]), self.recipe.augment  # noqa: S311
        examples = [*self.corpus.train, *(told_by_rules() if augment.rules else [])]
        examples += self.templates.made(_MADE if augment.templates else 0, rng) + self.templates.denials(_MADE // 2 if augment.denied else 0, rng)
        tokenised = [tokenise(example.text) for example in examples]
        marked = [(example, tokens) for example, tokens in zip(self.corpus.train, tokenised, strict=False) if example.spans]
        tags = [[int(tag) for tag in targets_of([example], [tokens]).tags[0] if tag != IGNORED] for example, tokens in marked]
        return fitted(examples, [tokens.words for tokens in tokenised], tags)

    @property
    def prior(self) -> dict[Acuity, float]:
        """How often each acuity is, for a message in which there is nothing to read."""
        counts = Counter(example.acuity for example in self.corpus.train)
        return {level: (counts[level] + 1) / (len(self.corpus.train) + len(Acuity)) for level in Acuity}


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it; one that has none takes sixty times as long as for float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(each) for each in ("avx512_bf16", "amx_bf16", "bf16"))


@dataclass(frozen=True)
class Trained:
    """The networks of a run, one a seed, each as its best epoch left it."""

    networks: list[Any]
    epochs: list[int]


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """How the average of the weights follows them: a decay that grows with the steps, so that the first ones do not stay in a short run's average.

    The rule min(decay, (1 + n) / (10 + n)) is that of TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def follow(averaged: Any, current: Any, updates: Any) -> None:
        done = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(averaged, current, updates)

    return follow


class Trainer:
    """Trains one network, from one seed."""

    def __init__(self, materials: Materials, seed: int) -> None:
        recipe = materials.recipe
        self.materials, self.recipe, self.seed = materials, recipe, seed
        self.half = recipe.bfloat16 and multiplies_bfloat16()
        torch.manual_seed(seed)
        torch.set_num_threads(recipe.threads)
        self.rng = random.Random(seed)  # noqa: S311
        self.augmenter = Augmenter(materials.corpus.train, recipe.augment, materials.templates, self.rng, recipe.epoch_messages)
        self.loss = Loss(recipe, materials.corpus.train)
        self.network = MultiTask(recipe.shape, materials.gazetteer.width, dropout=recipe.dropout, adapter_dropout=recipe.adapter_dropout)
        if materials.start:
            load_trained([self.network], first_member(materials.start), materials.start)
        self.average = AveragedModel(self.network, multi_avg_fn=moving_average(recipe.averaging))
        self.best_state: dict[str, Any] = {}
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        named = [(name, parameter) for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        groups = [
            {"params": [parameter for name, parameter in named if name.startswith("bert.")], "lr": recipe.learning_rate},
            {"params": [parameter for name, parameter in named if not name.startswith("bert.")], "lr": recipe.head_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=recipe.weight_decay)
        self.steps_an_epoch = -(-len(self.augmenter.epoch()) // recipe.batch_size)
        steps = recipe.epochs * self.steps_an_epoch
        self.schedule = get_cosine_schedule_with_warmup(self.optimizer, int(steps * recipe.warmup), int(steps * 1.03))

    def fit(self, console: Console, logs: SummaryWriter, checkpoints: Path | None, best_so_far: Any, *, to_the_end: bool = False) -> int:
        """Trains until the epochs are done or validation stops improving; answers the best epoch.

        At each new best `best_so_far` is called with the network, whose weights are kept as `best_state`. A run that was cut off goes on from
        its checkpoint. One that goes `to_the_end` looks at the validation voices after its last epoch alone.
        """
        checkpoint = checkpoints / _CHECKPOINT.format(seed=self.seed) if checkpoints else None
        best, best_epoch, done = self._resumed(checkpoint)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"seed {self.seed}", total=self.recipe.epochs * self.steps_an_epoch, completed=done * self.steps_an_epoch)
            for epoch in range(done + 1, self.recipe.epochs + 1):
                began = time.monotonic()
                loss = self._epoch(lambda: progress.advance(task))
                seconds = time.monotonic() - began
                if to_the_end and epoch < self.recipe.epochs:
                    continue
                scores = self.validate()
                for name in _SHOWN:
                    logs.add_scalar(f"{self.seed}/validation/{name}", getattr(scores, name) or 0.0, epoch)
                logs.add_scalar(f"{self.seed}/train/loss", loss, epoch)
                shown = ", ".join(f"{name} {getattr(scores, name) or 0:.3f}" for name in _SHOWN)
                console.print(f"seed {self.seed}, epoch {epoch}: loss {loss:.3f}, {shown}; {seconds:.0f} s", soft_wrap=True)
                if quality(scores) > best:
                    best, best_epoch = quality(scores), epoch
                    self.best_state = self.average.module.trained_state()
                    best_so_far(self.average.module)
                if checkpoint:
                    self._keep(checkpoint, best, best_epoch, epoch)
                if epoch - best_epoch >= self.recipe.patience:
                    console.print(f"no better for {self.recipe.patience} epochs: stopped")
                    break
        return best_epoch

    def validate(self) -> Scores:
        """The figures of the averaged network on the validation voices, thresholds chosen there."""
        validation = self.materials.corpus.validation
        _, answers = calibrated([self.average.module], self.materials.wide, self.recipe.shape, self.materials.gazetteer, validation, self.materials.prior)
        return score(validation, answers)

    def _epoch(self, advance: Any) -> float:
        self.network.train()
        examples, size = self.augmenter.epoch(), self.recipe.batch_size
        pool = 8 * size
        # similar lengths together within a pool of eight batches: little padding, still shuffled
        ordered = [example for at in range(0, len(examples), pool) for example in sorted(examples[at : at + pool], key=lambda one: len(one.text))]
        batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
        self.rng.shuffle(batches)
        total = 0.0
        for batch in batches:
            self.optimizer.zero_grad(set_to_none=True)
            total += self._backward(batch)
            nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            advance()
        return total / len(batches)

    def _backward(self, examples: list[Example]) -> float:
        recipe = self.recipe
        tokenised = [tokenise(example.text) for example in examples]
        targets = targets_of(examples, tokenised)
        batch = batch_of(tokenised, self.materials.gazetteer)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
            vectors = self.network.embedded(batch)
            if recipe.adversarial and not vectors.requires_grad:
                vectors.requires_grad_()
            if recipe.adversarial:
                vectors.retain_grad()
            logits = self.network(batch, vectors)
            again = self.network(batch) if recipe.agreement else None
        loss = self.loss(logits, targets)
        if again is not None:
            loss = (loss + self.loss(again, targets)) / 2 + recipe.agreement * disagreement(logits, again)
        loss.backward()
        if recipe.adversarial:
            uphill = vectors.grad / (vectors.grad.norm(dim=(1, 2), keepdim=True) + 1e-9)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
                pushed = self.network(batch, self.network.embedded(batch) + recipe.adversarial * uphill)
            self.loss(pushed, targets).backward()
        return float(loss.detach())

    def _keep(self, checkpoint: Path, best: float, best_epoch: int, epoch: int) -> None:
        """Writes all that a run needs to go on; whole or not at all."""
        trained = {name for name, parameter in self.network.named_parameters() if parameter.requires_grad}
        state = {
            "network": {name: value for name, value in self.network.state_dict().items() if name in trained},
            "best": self.best_state,
            "average": {name: value for name, value in self.average.module.state_dict().items() if name in trained},
            "averaged": self.average.n_averaged,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": (self.rng.getstate(), torch.get_rng_state()),
            "progress": (best, best_epoch, epoch),
        }
        unfinished = checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(checkpoint)

    def _resumed(self, checkpoint: Path | None) -> tuple[float, int, int]:
        if checkpoint is None or not checkpoint.exists():
            return -9.0, 0, 0
        state = torch.load(checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"], strict=False)
        self.average.module.load_state_dict(state["average"], strict=False)
        self.average.n_averaged.copy_(state["averaged"])
        self.best_state = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        version, numbers, spare = state["random"][0]
        self.rng.setstate((version, tuple(numbers), spare))
        torch.set_rng_state(state["random"][1])
        progress: tuple[float, int, int] = state["progress"]
        return progress


def quality(scores: Scores) -> float:
    """What early stopping looks at: the three tasks alike, with the emergencies found and the needless alarms."""
    acuity = (scores.acuity_accuracy or 0.0) + (scores.emergency_sensitivity or 0.0) - (scores.false_alarm_rate or 0.0)
    return (scores.intent_macro_f1 or 0.0) + (scores.span_f1 or 0.0) + acuity


def train(materials: Materials, out: Path, console: Console, logs: SummaryWriter, checkpoints: Path | None = None, *, to_the_end: bool = False) -> Trained:
    """Trains a network a seed; the best so far, and those before it, lie in `out`."""
    finished: list[Any] = []
    epochs = []
    for seed in materials.recipe.seeds:
        trainer = Trainer(materials, seed)

        def keep(network: Any) -> None:
            save(out, [*finished, network], materials.wide, materials.recipe.shape, materials.gazetteer, materials.corpus.validation, materials.prior)

        epochs.append(trainer.fit(console, logs, checkpoints, keep, to_the_end=to_the_end))
        trainer.network.load_state_dict({name: value.float() for name, value in trainer.best_state.items()}, strict=False)
        finished.append(trainer.network)
    return Trained(finished, epochs)


def main(arguments: list[str] | None = None) -> int:
    """Trains, saves, and writes the model card. Answers the exit code: 2 for a recipe or corpus with a mistake."""
    parser = argparse.ArgumentParser(prog="python -m nlu.train", description="Train the encoder and write its weights, labels and model card.")
    parser.add_argument("--recipe", type=Path, default=REFERENCE, help="settings of the run (default: the reference recipe)")
    parser.add_argument("--out", type=Path, default=DEFAULT_MODEL, help="folder for the weights (default: nlu/weights)")
    parser.add_argument("--corpus", type=Path, default=CORPORA, help="folder with voices/ and splits.yaml (default: nlu/corpora)")
    parser.add_argument("--run", type=Path, help="folder for TensorBoard and checkpoints; a run that was cut off goes on from them (default: a new one)")
    parser.add_argument("--start", type=Path, help="begin with the weights of this folder, of the same shape: for voices that came later")
    parser.add_argument("--calibrate", type=Path, help="train nothing: choose the thresholds of this folder's model anew, for later validation voices")
    parser.add_argument("--merge", type=Path, nargs="+", help="train nothing: the mean of these folders' models, which began with the same weights, as one")
    parser.add_argument("--ablation", action="store_true", help="train short runs instead, each setting changed alone, and write ablation.md to --out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13], help="of the ablation: each run is made once a seed (default: 11 12 13)")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        recipe, corpus, templates = read_recipe(options.recipe), read_corpus(options.corpus), read_templates(TEMPLATES)
        if options.ablation:
            from nlu.ablation import ablate

            ablate(options.recipe, options.out, corpus, templates, console, options.seeds)
            return 0
        if options.calibrate:
            calibrate_anew(options.calibrate, corpus.validation)
            write_card(options.calibrate, Encoder.load(options.calibrate), corpus, trained_lines_of(options.calibrate))
            return 0
        if options.merge:
            merge(options.merge, options.out, corpus)
            write_card(options.out, Encoder.load(options.out), corpus, merged_lines(options.merge))
            return 0
        return _run(options, recipe, corpus, templates, console)
    except (RecipeInvalid, CorpusInvalid, ModelMismatch) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, recipe: Recipe, corpus: Corpus, templates: Templates, console: Console) -> int:
    console.print(f"{len(corpus.train)} messages to train on, {len(corpus.validation)} to validate, {len(corpus.test)} to test")
    run = options.run or settings().home / "runs" / "nlu" / time.strftime("%Y%m%d-%H%M%S")
    run.mkdir(parents=True, exist_ok=True)
    logs = SummaryWriter(str(run))
    began = time.monotonic()
    begun_with = read_labels(options.start).version if options.start else ""
    trained = train(Materials(recipe, corpus, templates, build(), options.start), options.out, console, logs, run)
    seconds = time.monotonic() - began
    logs.close()
    encoder = Encoder.load(options.out)
    write_card(options.out, encoder, corpus, trained_lines(corpus, recipe, trained.epochs, seconds, begun_with))
    console.print(f"{encoder.version} written to {options.out} (best epoch {', '.join(map(str, trained.epochs))}; {seconds:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
