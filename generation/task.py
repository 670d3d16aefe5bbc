"""Stage 2, task format: an example as token ids, with what is learned of it and how much each token weighs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from care.acuity import Acuity
from care.knowledge import knowledge
from care.triage.model import TriageDraft
from generation.examples import Example
from generation.prompt import END, MARKS, ChatMessage, answer, chat_messages, completion_prompt, folded, refuses_system
from generation.recipe import BaseInvalid, FormatPart, TokenizerPart

PAD = "<|pad|>"
_IGNORED = -100
_WORDS = Regex(r" ?[^\W\d_]+|\d| ?[^\s\w]+|_|\s+")
"""As GPT-2's, but a digit a token: a value is read digit by digit."""


class TemplateMissing(BaseInvalid):
    """The base has no chat template, and the recipe asks for chat."""

    def __init__(self, base: str) -> None:
        super().__init__(
            f"{base} has no chat template: it is a base model, not an instruct one. Take its instruct version, or set format.style to completion in the recipe"
        )


def make_tokenizer(texts: Iterable[str], part: TokenizerPart) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`; our marks, the knowledge's ids and what stands between an answer's fields are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_WORDS, behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=part.vocabulary, special_tokens=[PAD, END, *MARKS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(between, normalized=False) for between in _between()])
    tokenizer.add_tokens([AddedToken(name, single_word=True, normalized=False) for name in _ids()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False)


def _between() -> list[str]:
    """What stands between the values of an answer that is otherwise empty: an answer so is a third as many tokens, and as many steps of vLLM."""
    empty = TriageDraft(acuity=Acuity.ROUTINE, unsure=False, red_flags=[], findings=[], denied=[], questions=[], advice=[], reply="", rationale="")
    pieces = re.split(r"routine|false|(?<=\[)(?=\])|(?<=:\")(?=\")", answer(empty))
    return [piece for piece in pieces if len(piece) > 1]


def _ids() -> list[str]:
    """The ids that a prompt or an answer may name and that are more than one plain word."""
    known = knowledge()
    named = [*known.symptoms, *known.advice, *known.red_flags, *known.clarifiers, *known.protocols, *known.complications]
    return sorted({name for name in named if "_" in name})


@dataclass(frozen=True)
class Encoded:
    """A prompt and its answer as token ids, with the weight of each token of the answer."""

    prompt: list[int]
    wanted: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Format:
    """How examples are written for one tokenizer. Raises `TemplateMissing` where chat is asked of one without a template."""

    tokenizer: PreTrainedTokenizerBase
    part: FormatPart

    def __post_init__(self) -> None:
        if self.part.style == "chat" and not self.tokenizer.chat_template:
            raise TemplateMissing(str(self.tokenizer.name_or_path))

    def prompt(self, example: Example) -> list[int]:
        """The ids of what the model is asked."""
        if self.part.style == "completion":
            return list(self.tokenizer(completion_prompt(example.request))["input_ids"])
        return list(self.tokenizer(self._chat(example), add_special_tokens=False)["input_ids"])

    def encoded(self, example: Example) -> Encoded | None:
        """The example's ids; None where it is too long."""
        prompt, text = self.prompt(example), answer(example.draft)
        decided = text.index(",", text.index('"acuity"')) - 1
        tokens = self.tokenizer(text + self.end, add_special_tokens=False, return_offsets_mapping=True)
        wanted = list(tokens["input_ids"])
        if len(prompt) + len(wanted) > self.part.max_tokens:
            return None
        return Encoded(prompt, wanted, [self.part.acuity_weight if start < decided else 1.0 for start, _ in tokens["offset_mapping"]])

    @property
    def end(self) -> str:
        """What ends an answer, as text."""
        return END if self.part.style == "completion" else str(self.tokenizer.eos_token)

    def _chat(self, example: Example) -> str:
        """The chat prompt through the base's own template; a template that takes no system message gets it before the user's words."""
        messages = chat_messages(example.request)
        try:
            return self._templated(messages)
        except Exception as error:  # a template raises what its author chose to, through jinja
            if not refuses_system(str(error)):
                raise
            return self._templated(folded(messages))

    def _templated(self, messages: list[ChatMessage]) -> str:
        return str(self.tokenizer.apply_chat_template([message.model_dump() for message in messages], tokenize=False, add_generation_prompt=True))


@dataclass(frozen=True)
class Collator:
    """Makes a batch, padded on the left so that all answers end together: the last `logits_to_keep` places hold every answer."""

    pad: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["prompt"]) + len(row["wanted"]) for row in rows)
        ids, seen, labels, weights = [], [], [], []
        kept = max(len(row["wanted"]) for row in rows)
        for row in rows:
            line = row["prompt"] + row["wanted"]
            blank = longest - len(line)
            ids.append([self.pad] * blank + line)
            seen.append([0] * blank + [1] * len(line))
            labels.append([_IGNORED] * (kept - len(row["wanted"])) + row["wanted"])
            weights.append([0.0] * (kept - len(row["wanted"])) + row["weights"])
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(seen),
            "labels": torch.tensor(labels),
            "weights": torch.tensor(weights),
        }
