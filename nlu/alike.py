"""Which approved statements are like a text in meaning: vectors of the frozen sentence encoder, compared by cosine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import BertModel

from care.knowledge import Knowledge
from nlu.tokens import encoder_folder, tokenise

_BATCH = 64


class SentenceEncoder:
    """The base encoder as its makers trained it, for likeness of meaning."""

    def __init__(self) -> None:
        self._bert = BertModel.from_pretrained(str(encoder_folder()), add_pooling_layer=False).eval()

    def vectors(self, texts: list[str]) -> Any:
        """A unit vector a text, `(texts, 384)`: the mean of its tokens, as all-MiniLM-L6-v2's card asks for."""
        parts = []
        for at in range(0, len(texts), _BATCH):
            ids = [torch.tensor(tokenise(text).ids) for text in texts[at : at + _BATCH]]
            mask = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
            with torch.inference_mode():
                hidden = self._bert(input_ids=pad_sequence(ids, batch_first=True), attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            parts.append(normalize((hidden * weight).sum(1) / weight.sum(1).clamp(min=1), dim=-1))
        return torch.cat(parts)


class AdviceLikeness:
    """Every approved statement with the ways in which patients ask for it, held as vectors.

    They are computed once for each version of the knowledge and kept in `folder`, so that later starts do not wait for them.
    """

    def __init__(self, encoder: SentenceEncoder, known: Knowledge, folder: Path) -> None:
        self._encoder = encoder
        wordings = {each.id: [each.text, ", ".join(each.topics).replace("_", " "), *each.asked] for each in known.advice.values()}
        self._sizes = {identifier: len(said) for identifier, said in wordings.items()}
        self._vectors = self._kept(folder / f"advice-{known.version}.safetensors", [words for said in wordings.values() for words in said])

    def of(self, text: str) -> dict[str, float]:
        """How like `text` each statement is, from -1 to 1: the mean likeness of the two nearest of its wordings."""
        likenesses = (self._vectors @ self._encoder.vectors([text])[0]).split(list(self._sizes.values()))
        return {identifier: float(each.topk(2).values.mean()) for identifier, each in zip(self._sizes, likenesses, strict=True)}

    def _kept(self, file: Path, wordings: list[str]) -> Any:
        if file.exists():
            with suppress(SafetensorError, KeyError):
                vectors = load_file(str(file))["vectors"]
                if len(vectors) == len(wordings):
                    return vectors
        by_length = sorted(range(len(wordings)), key=lambda place: len(wordings[place]))  # little padding
        vectors = self._encoder.vectors([wordings[place] for place in by_length])[torch.tensor(by_length).argsort()].contiguous()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        save_file({"vectors": vectors}, str(part))
        part.replace(file)
        return vectors
