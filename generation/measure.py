"""Stage 5, evaluation: how a model answers held-out messages, greedily and without a grammar."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import torch

from generation.examples import Example
from generation.figures import Figures
from generation.task import Format

_LONGEST = 320
_AT_ONCE = 16


def measure(model: Any, form: Format, examples: Iterable[Example]) -> Figures:
    """The figures of `model` over `examples`."""
    model.eval()
    figures, began = Figures(), time.monotonic()
    asked = sorted(((form.prompt(each), each) for each in examples), key=lambda pair: len(pair[0]))
    for at in range(0, len(asked), _AT_ONCE):
        batch = asked[at : at + _AT_ONCE]
        for (_, wanted), text in zip(batch, _answers(model, form, [prompt for prompt, _ in batch], figures), strict=True):
            figures.count(wanted, text)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _answers(model: Any, form: Format, prompts: list[list[int]], figures: Figures) -> list[str]:
    tokenizer = form.tokenizer
    longest = max(map(len, prompts))
    pad, end = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=seen, max_new_tokens=_LONGEST, do_sample=False, pad_token_id=pad, eos_token_id=end)
    texts = []
    for row in out[:, longest:].tolist():
        said = row[: row.index(end)] if end in row else row
        figures.longest_answer = max(figures.longest_answer, len(said) + 1)
        texts.append(tokenizer.decode(said, skip_special_tokens=True))
    return texts
