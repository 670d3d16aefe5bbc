"""The encoder: a frozen sentence encoder with adapters, and one head each for intents, acuity and spans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import BertModel

from care.acuity import Acuity
from care.understanding import Intent, IntentScore, Span, SpanLabel, Understanding
from nlu.adapters import add_adapters, merge_adapters
from nlu.labels import WEIGHTS_FILE, AdapterShape, LabelFile, ModelMismatch, read_labels, tag_of
from nlu.tokens import Batch, Tokenised, batch_of, encoder_folder, tokenise

DEFAULT_MODEL = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Logits:
    """Raw outputs: `(texts, intents)`, `(texts, acuities)`, `(texts, tokens, tags)`."""

    intents: Any
    acuity: Any
    tags: Any


class MultiTask(nn.Module):  # type: ignore[misc]
    """Mean-pooled sentence vector to intents and acuity; each token to a span tag."""

    def __init__(self, adapters: AdapterShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.bert: Any = BertModel.from_pretrained(str(encoder_folder()), add_pooling_layer=False)
        add_adapters(self.bert, adapters.targets, adapters.rank, adapters.alpha)
        width = self.bert.config.hidden_size
        self.dropout = nn.Dropout(dropout)
        self.intents = nn.Linear(width, len(Intent))
        self.acuity = nn.Linear(width, len(Acuity))
        self.tags = nn.Linear(width, 1 + 2 * len(SpanLabel))

    def forward(self, batch: Batch) -> Logits:
        """The heads' raw outputs for a batch."""
        hidden = self.bert(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        weight = batch.mask.unsqueeze(-1).to(hidden.dtype)
        sentence = self.dropout((hidden * weight).sum(1) / weight.sum(1).clamp(min=1))
        return Logits(self.intents(sentence), self.acuity(sentence), self.tags(self.dropout(hidden)))

    def trained_state(self) -> dict[str, Any]:
        """The adapters' and heads' weights by name: everything that training changes."""
        return {name: value.detach().clone().contiguous() for name, value in self.named_parameters() if value.requires_grad}


class Encoder:
    """A trained model, ready to answer. Safe to use from one thread at a time."""

    def __init__(self, network: Any, labels: LabelFile) -> None:
        self.labels = labels
        self.version = labels.version
        self._network = network.eval()

    @classmethod
    def load(cls, folder: Path = DEFAULT_MODEL) -> Encoder:
        """The model of `folder`. Raises `ModelMismatch` where its files do not belong together."""
        labels = read_labels(folder)
        network = MultiTask(labels.adapters)
        try:
            state = load_file(str(folder / WEIGHTS_FILE))
        except SafetensorError as error:
            raise ModelMismatch(f"{folder / WEIGHTS_FILE} is not a safetensors file ({error}); train again") from error
        load_trained(network, state, folder)
        merge_adapters(network.bert)
        return cls(network, labels)

    def logits(self, texts: list[Tokenised]) -> Logits:
        """One forward of the texts, padded to the longest."""
        with torch.inference_mode():
            logits: Logits = self._network(batch_of(texts))
        return logits

    def understand(self, texts: list[str]) -> list[Understanding]:
        """What each text means, in one forward."""
        return [understanding for understanding, _ in self.read_ranked(texts, [tokenise(text) for text in texts])]

    def read_ranked(self, texts: list[str], tokenised: list[Tokenised]) -> list[tuple[Understanding, list[IntentScore]]]:
        """Each tokenised text's understanding, and every intent with its probability, most probable first."""
        logits = self.logits(tokenised)
        heat = self.labels.temperatures
        intents = torch.sigmoid(logits.intents / heat.intents).tolist()
        acuity = torch.softmax(logits.acuity.double() / heat.acuity, dim=-1).tolist()
        tags = torch.softmax(logits.tags / heat.spans, dim=-1)
        answers = []
        for row, (text, tokens) in enumerate(zip(texts, tokenised, strict=True)):
            scores = (IntentScore(name=name, confidence=score) for name, score in zip(self.labels.intents, intents[row], strict=True))
            ranked = sorted(scores, key=lambda score: -score.confidence)
            levels = dict(zip(self.labels.acuities, acuity[row], strict=True))
            understanding = Understanding(
                text=text,
                intents=[] if tokens.empty else [score for score in ranked if score.confidence >= self.labels.thresholds[score.name]],
                spans=[] if tokens.empty else self._spans(text, tokens, tags[row]),
                acuity=self.labels.prior if tokens.empty else levels,
                version=self.version,
            )
            answers.append((understanding, ranked))
        return answers

    def _spans(self, text: str, tokens: Tokenised, probabilities: Any) -> list[Span]:
        best = probabilities[: len(tokens.ids)].max(dim=-1)
        return [
            Span(label=label, text=text[start:end], start=start, end=end, confidence=min(1.0, confidence))
            for label, start, end, confidence in decode_spans(tokens, best.indices.tolist(), best.values.tolist(), self.labels.spans)
        ]


def load_trained(network: Any, state: dict[str, Any], folder: Path) -> None:
    """Puts adapters and heads into `network`. Raises `ModelMismatch` where a name or a shape differs."""
    wanted = {name: tuple(value.shape) for name, value in network.named_parameters() if value.requires_grad}
    given = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != given:
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        name = wrong[0]
        raise ModelMismatch(
            f"{folder / WEIGHTS_FILE} does not fit its label file in {len(wrong)} places, first {name}: "
            f"expected {wanted.get(name)}, found {given.get(name)}; take both files from one training"
        )
    network.load_state_dict(state, strict=False)


def decode_spans(tokens: Tokenised, tags: list[int], confidences: list[float], labels: list[SpanLabel]) -> list[tuple[SpanLabel, int, int, float]]:
    """Spans as (label, start, end, mean confidence) from a tag a token; a word's tag is that of its first piece."""
    found: list[tuple[SpanLabel, int, int, list[float]]] = []
    tag, open_label = 0, None
    for place, first, token_tag, confidence in zip(tokens.places, tokens.first, tags, confidences, strict=False):
        if place is None:
            continue
        tag = token_tag if first else tag
        label = labels[(tag - 1) // 2] if tag else None
        begins = first and tag == tag_of((tag - 1) // 2, begins=True)
        if label is not None and label == open_label and not begins:
            name, start, _, scores = found[-1]
            found[-1] = (name, start, place[1], [*scores, confidence] if first else scores)
        elif label is not None:
            found.append((label, place[0], place[1], [confidence]))
        open_label = label
    return [(label, start, end, sum(scores) / len(scores)) for label, start, end, scores in found]
