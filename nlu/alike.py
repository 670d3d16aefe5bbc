"""Which approved statements are like a text in meaning: vectors of the frozen sentence encoder, compared by cosine."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import BertModel

from care.knowledge import Knowledge
from nlu.tokens import batch_of, encoder_folder, tokenise

_BATCH = 64


class SentenceEncoder:
    """The base encoder as its makers trained it, for likeness of meaning. Safe to use from one thread at a time."""

    def __init__(self) -> None:
        self._bert = BertModel.from_pretrained(str(encoder_folder()), add_pooling_layer=False).eval()

    def vectors(self, texts: list[str]) -> Any:
        """A unit vector a text, `(texts, 384)`: the mean of its tokens, as all-MiniLM-L6-v2's card asks for."""
        parts = []
        for at in range(0, len(texts), _BATCH):
            batch = batch_of([tokenise(text) for text in texts[at : at + _BATCH]])
            with torch.inference_mode():
                hidden = self._bert(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
            weight = batch.mask.unsqueeze(-1).to(hidden.dtype)
            parts.append(normalize((hidden * weight).sum(1) / weight.sum(1).clamp(min=1), dim=-1))
        return torch.cat(parts)


class AdviceLikeness:
    """Every approved statement with the ways in which patients ask for it, held as vectors."""

    def __init__(self, encoder: SentenceEncoder, known: Knowledge) -> None:
        self._encoder = encoder
        said = [(each.id, words) for each in known.advice.values() for words in (each.text, ", ".join(each.topics).replace("_", " "), *each.asked)]
        self._ids = [identifier for identifier, _ in said]
        by_length = sorted(range(len(said)), key=lambda place: len(said[place][1]))
        vectors = encoder.vectors([said[place][1] for place in by_length])
        self._vectors = vectors[torch.tensor(by_length).argsort()]

    def of(self, text: str) -> dict[str, float]:
        """How like `text` each statement is, from -1 to 1: the likeness of the nearest of its wordings."""
        nearest: dict[str, float] = {}
        for identifier, likeness in zip(self._ids, (self._vectors @ self._encoder.vectors([text])[0]).tolist(), strict=True):
            nearest[identifier] = max(likeness, nearest.get(identifier, -1.0))
        return nearest
