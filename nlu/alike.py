"""Which approved statements are like a text in meaning: vectors of the frozen sentence encoder, compared by cosine."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import BertModel

from care.knowledge import Knowledge
from nlu.tokens import encoder_folder, tokenise

_BATCH = 64


class SentenceEncoder:
    """The base encoder as its makers trained it, for likeness of meaning. Safe to use from one thread at a time."""

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
    """Every approved statement with the ways in which patients ask for it, held as vectors."""

    def __init__(self, encoder: SentenceEncoder, known: Knowledge) -> None:
        self._encoder = encoder
        wordings = {each.id: [each.text, ", ".join(each.topics).replace("_", " "), *each.asked] for each in known.advice.values()}
        flat = [words for said in wordings.values() for words in said]
        by_length = sorted(range(len(flat)), key=lambda place: len(flat[place]))  # little padding
        self._vectors = encoder.vectors([flat[place] for place in by_length])[torch.tensor(by_length).argsort()]
        self._sizes = {identifier: len(said) for identifier, said in wordings.items()}

    def of(self, text: str) -> dict[str, float]:
        """How like `text` each statement is, from -1 to 1: the mean likeness of the two nearest of its wordings."""
        likenesses = (self._vectors @ self._encoder.vectors([text])[0]).split(list(self._sizes.values()))
        return {identifier: float(each.topk(2).values.mean()) for identifier, each in zip(self._sizes, likenesses, strict=True)}
