"""Trains the reference model from scratch on our own corpora: `python -m generation.train`, in the env vllm.

The stages: examples, tokenizer, model, check on the held-out voices, and the files under `generation/weights/` with their card.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from care.acuity import Acuity
from care.triage.model import PatientContext
from generation.card import Figures, write_card
from generation.examples import VOICES, Labelled, example, joined, misspelt, read_voices, rule_examples, some_context
from generation.prompt import END, MARKS, DraftMalformed, answer, completion_prompt, read_draft

HERE = Path(__file__).parent
PAD = "<|pad|>"
_IGNORED = -100


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerPart(_Part):
    """How the tokenizer is made."""

    vocabulary: int = Field(ge=300)


class ModelPart(_Part):
    """The model's shape."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    positions: int


class ExamplesPart(_Part):
    """How messages are varied; shares between 0 and 1."""

    joined: float
    misspelt: float
    known_context: float
    rules: bool
    shares: dict[Acuity, float]


class TrainingPart(_Part):
    """How long and how fast the model learns."""

    minutes: float = Field(gt=0)
    threads: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    dropout: float
    acuity_weight: float


class Recipe(_Part):
    """A training run, as a file of `generation/recipes/` says it."""

    seed: int
    held_out: list[str]
    tokenizer: TokenizerPart
    model: ModelPart
    examples: ExamplesPart
    training: TrainingPart


@dataclass
class Stream:
    """An endless stream of varied examples, as prompt and answer."""

    messages: list[Labelled]
    part: ExamplesPart
    rng: random.Random

    def __post_init__(self) -> None:
        self.by_voice: dict[str, list[Labelled]] = {}
        for message in self.messages:
            self.by_voice.setdefault(message.voice, []).append(message)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        levels, shares = zip(*self.part.shares.items(), strict=True)
        by_acuity = {level: [message for message in self.messages if message.acuity is level] for level in levels}
        while True:
            level = self.rng.choices(levels, shares)[0]
            if by_acuity[level]:
                yield self.varied(self.rng.choice(by_acuity[level]))

    def varied(self, message: Labelled) -> tuple[str, str]:
        """One example of `message`, varied by chance."""
        rng = self.rng
        if rng.random() < self.part.joined:
            message = joined(message, rng.choice(self.by_voice[message.voice]), rng)
        if rng.random() < self.part.misspelt:
            message = Labelled(message.voice, misspelt(message.text, rng), message.intents, message.acuity)
        context = some_context(rng) if rng.random() < self.part.known_context else PatientContext()
        made = example(message, context, rng)
        return completion_prompt(made.request), answer(made.draft)


def make_tokenizer(texts: list[str], part: TokenizerPart) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`, with our marks as single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=part.vocabulary,
        special_tokens=[PAD, END, *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False)


def make_model(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> LlamaForCausalLM:
    """A Llama of the recipe's shape with fresh weights."""
    shape = recipe.model
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads,
            intermediate_size=shape.feed_forward,
            max_position_embeddings=shape.positions,
            attention_dropout=recipe.training.dropout,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(END),
            pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        )
    )


def batch_of(pairs: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast, acuity_weight: float) -> tuple[Any, Any, Any]:
    """Token ids, labels (the answer's tokens only) and weights of a batch, padded on the right."""
    rows, labels, weights = [], [], []
    for prompt, wanted in pairs:
        asked = tokenizer(prompt)["input_ids"]
        cut = wanted.index(",")
        said, rest = tokenizer(wanted[:cut])["input_ids"], tokenizer(wanted[cut:] + END)["input_ids"]
        rows.append(asked + said + rest)
        labels.append([_IGNORED] * len(asked) + said + rest)
        weights.append([0.0] * len(asked) + [acuity_weight] * len(said) + [1.0] * len(rest))
    longest = max(len(row) for row in rows)
    pad = tokenizer.pad_token_id

    def padded(lists: list[list[Any]], filler: Any) -> Any:
        return torch.tensor([row + [filler] * (longest - len(row)) for row in lists])

    return padded(rows, pad), padded(labels, _IGNORED), padded(weights, 0.0)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, stream: Stream, part: TrainingPart) -> int:
    """Trains for the recipe's minutes; returns the number of steps."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=part.learning_rate, weight_decay=part.weight_decay, betas=(0.9, 0.98))
    pairs, began, step = iter(stream), time.monotonic(), 0
    model.train()
    while (done := (time.monotonic() - began) / (part.minutes * 60)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = part.learning_rate * min(1.0, (step + 1) / part.warmup_steps) * (1 - done)
        ids, labels, weights = batch_of([next(pairs) for _ in range(part.batch)], tokenizer, part.acuity_weight)
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        asked = labels[:, 1:] != _IGNORED
        losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[asked]), labels[:, 1:][asked], reduction="none")
        weight = weights[:, 1:][asked]
        loss = (losses * weight).sum() / weight.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step}: {done:.0%} of the time, loss {loss.item():.3f}", flush=True)
    return step


def measure(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, messages: list[Labelled]) -> Figures:
    """How the model answers `messages`, greedily and without a grammar."""
    model.eval()
    figures = Figures(messages=len(messages))
    for message in messages:
        wanted = example(message, PatientContext(protocol="knee_replacement", day=3))
        ids = tokenizer(completion_prompt(wanted.request), return_tensors="pt")["input_ids"]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=240, do_sample=False)[0, ids.shape[1] :]
        figures.longest_answer = max(figures.longest_answer, len(out))
        figures.self_care += message.acuity is Acuity.SELF_CARE
        try:
            draft = read_draft(tokenizer.decode(out, skip_special_tokens=True))
        except DraftMalformed:
            figures.malformed += 1
            continue
        figures.right += draft.acuity is wanted.draft.acuity
        serious = wanted.draft.acuity in (Acuity.EMERGENCY, Acuity.URGENT)
        figures.serious += serious
        figures.serious_seen += serious and draft.acuity in (Acuity.EMERGENCY, Acuity.URGENT)
        figures.under += draft.acuity.rank < wanted.draft.acuity.rank
    return figures


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m generation.train", description="Trains the reference triage model.")
    parser.add_argument("--recipe", type=Path, default=HERE / "recipes" / "reference.yaml")
    parser.add_argument("--voices", type=Path, default=VOICES)
    parser.add_argument("--out", type=Path, default=HERE / "weights")
    parser.add_argument("--minutes", type=float, help="instead of the recipe's")
    chosen = parser.parse_args(arguments)
    recipe = Recipe.model_validate(yaml.safe_load(chosen.recipe.read_text(encoding="utf-8")))
    training = recipe.training.model_copy(update={"minutes": chosen.minutes or recipe.training.minutes})
    torch.set_num_threads(training.threads)
    torch.manual_seed(recipe.seed)
    messages = read_voices(chosen.voices)
    taught = [message for message in messages if message.voice not in recipe.held_out] + (rule_examples() if recipe.examples.rules else [])
    held_out = [message for message in messages if message.voice in recipe.held_out]
    stream = Stream(taught, recipe.examples, random.Random(recipe.seed))  # noqa: S311 - variety, not secrecy
    tokenizer = make_tokenizer([part for message in taught for _ in range(4) for part in stream.varied(message)], recipe.tokenizer)
    model = make_model(tokenizer, recipe)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{len(taught)} messages to learn from, {len(held_out)} held out; {parameters:,} parameters", flush=True)
    steps = train(model, tokenizer, stream, training)
    figures = measure(model.to(torch.bfloat16).to(torch.float32), tokenizer, held_out)
    shutil.rmtree(chosen.out, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(chosen.out)
    tokenizer.save_pretrained(chosen.out)
    write_card(
        chosen.out / "model-card.md",
        recipe_name=chosen.recipe.name,
        parameters=parameters,
        steps=steps,
        taught=len(taught),
        held_out=recipe.held_out,
        figures=figures,
    )
    print(figures.summary(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
