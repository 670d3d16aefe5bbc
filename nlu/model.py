"""The encoder: a sentence encoder with adapters, and heads for intents, acuity, spans and the status of symptoms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import BertModel
from transformers.utils import logging as transformers_logging

from care.acuity import Acuity
from care.understanding import Intent, IntentScore, Span, SpanLabel, SymptomStatus, Understanding
from nlu.decoding import best_tags, spans_of
from nlu.gazetteer import GAZETTEER_FILE, Gazetteer, read_gazetteer
from nlu.labels import WEIGHTS_FILE, LabelFile, Mode, ModelMismatch, Shape, read_labels
from nlu.tokens import Batch, Tokenised, batch_of, encoder_folder, tokenise
from nlu.wide import Wide

_FOLLOWS = 0.25
"""How much it counts which tag follows which; chosen on the validation voices."""
DEFAULT_MODEL = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Logits:
    """Raw outputs: `(texts, intents)`, `(texts, acuities - 1)`, `(texts, tokens, tags)`, `(texts, tokens, statuses)`.

    Those of acuity are cumulative and fall: the k-th says whether the acuity is above level k.
    """

    intents: Any
    acuity: Any
    tags: Any
    statuses: Any


class MultiTask(nn.Module):  # type: ignore[misc]
    """The mean and an attended sentence vector to intents and acuity; each token, with what the gazetteer knows it as, to tag and status."""

    def __init__(self, shape: Shape, known: int, *, dropout: float = 0.0, adapter_dropout: float = 0.0) -> None:
        super().__init__()
        self.bert: Any = _base(shape, adapter_dropout)
        width = self.bert.config.hidden_size
        self.gazetteer = shape.gazetteer
        self.dropout = nn.Dropout(dropout)
        self.known = nn.Linear(known, width, bias=False)
        nn.init.zeros_(self.known.weight)
        self.attend = nn.Linear(width, 2)
        self.intents = nn.Linear(2 * width, len(Intent))
        self.acuity = nn.Linear(2 * width, len(Acuity) - 1)
        self.words = nn.Sequential(nn.Linear(width + known, shape.span_width), nn.GELU(), nn.Dropout(dropout))
        self.tags = nn.Linear(shape.span_width, 1 + 2 * len(SpanLabel))
        self.statuses = nn.Linear(shape.span_width, len(SymptomStatus))

    def embedded(self, batch: Batch) -> Any:
        """The words' vectors before the first layer."""
        vectors = self.bert.get_input_embeddings()(batch.ids)
        return vectors + self.known(batch.marks) if self.gazetteer else vectors

    def forward(self, batch: Batch, vectors: Any = None) -> Logits:
        """The heads' raw outputs for a batch, whose words' `vectors` may be given."""
        vectors = self.embedded(batch) if vectors is None else vectors
        hidden = self.bert(inputs_embeds=vectors, attention_mask=batch.mask).last_hidden_state
        weight = batch.mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        shares = torch.softmax(self.attend(hidden).masked_fill(weight == 0, -1e4), dim=1)
        attended = torch.einsum("btk,btw->kbw", shares.to(hidden.dtype), hidden)
        intents, acuity = (self.dropout(torch.cat([mean, one], dim=-1)) for one in attended)
        marks = batch.marks if self.gazetteer else torch.zeros_like(batch.marks)
        words = self.words(torch.cat([self.dropout(hidden), marks.to(hidden.dtype)], dim=-1))
        first, *steps = self.acuity(acuity).float().unbind(-1)
        levels = [first]
        for step in steps:
            levels.append(levels[-1] - nn.functional.softplus(step))
        return Logits(self.intents(intents).float(), torch.stack(levels, dim=-1), self.tags(words).float(), self.statuses(words).float())

    def trained_state(self) -> dict[str, Any]:
        """The trained weights by name, in half precision."""
        return {name: value.detach().half().contiguous() for name, value in self.named_parameters() if value.requires_grad}


def _base(shape: Shape, adapter_dropout: float) -> Any:
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call, unused-ignore]
    bert = BertModel.from_pretrained(str(encoder_folder()), add_pooling_layer=False).float()
    bert.requires_grad_(False)
    layers = range(shape.frozen_layers, bert.config.num_hidden_layers)
    if shape.mode is Mode.FULL:
        for number in layers:
            bert.encoder.layer[number].requires_grad_(True)
    if shape.mode is not Mode.LORA or not layers:
        return bert
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, lora_dropout=adapter_dropout, target_modules=list(map(str, shape.targets)), layers_to_transform=list(layers)
    )
    return get_peft_model(bert, config)


class Encoder:
    """A trained model, ready to answer. Safe to use from one thread at a time."""

    def __init__(self, networks: list[Any], wide: Wide, labels: LabelFile, gazetteer: Gazetteer) -> None:
        self.labels = labels
        self.wide = wide
        self.version = labels.version
        self.gazetteer = gazetteer
        self.networks = [network.eval() for network in networks]

    @classmethod
    def load(cls, folder: Path = DEFAULT_MODEL) -> Encoder:
        """The model of `folder`. Raises `ModelMismatch` where its files do not belong together."""
        labels = read_labels(folder)
        gazetteer = _matching_gazetteer(folder, labels)
        networks = [MultiTask(labels.shape, gazetteer.width) for _ in range(labels.members)]
        state = _state(folder)
        load_trained(networks, {name: value for name, value in state.items() if not name.startswith("wide.")}, folder)
        try:
            wide = Wide.of(state)
        except (KeyError, ValueError) as error:
            raise ModelMismatch(f"{folder / WEIGHTS_FILE}: {error} (the linear part); take both files from one training") from error
        for network in networks:
            if labels.shape.mode is Mode.LORA:
                network.bert = network.bert.merge_and_unload()
        return cls(networks, wide, labels, gazetteer)

    def logits(self, texts: list[Tokenised]) -> Logits:
        """One forward of the texts, padded to the longest, the mean of the members', with what the linear reading adds."""
        shares = self.labels.shares
        intents, acuity = self.wide.scores(texts)
        return with_wide(self.network_logits(texts), shares.intents * intents, shares.acuity * acuity)

    def network_logits(self, texts: list[Tokenised]) -> Logits:
        """One forward of the texts, without the linear reading."""
        batch = batch_of(texts, self.gazetteer)
        with torch.inference_mode():
            outputs = [network(batch) for network in self.networks]
        return mean_of(outputs)

    def understand(self, texts: list[str]) -> list[Understanding]:
        """What each text means, in one forward."""
        return [understanding for understanding, _ in self.read_ranked(texts, [tokenise(text) for text in texts])]

    def read_ranked(self, texts: list[str], tokenised: list[Tokenised]) -> list[tuple[Understanding, list[IntentScore]]]:
        """Each tokenised text's understanding, and every intent with its probability, most probable first."""
        return self.answers(texts, tokenised, self.logits(tokenised))

    def answers(self, texts: list[str], tokenised: list[Tokenised], logits: Logits) -> list[tuple[Understanding, list[IntentScore]]]:
        """What the `logits` of the texts say, by this model's label file."""
        labels = self.labels
        intents = torch.sigmoid(logits.intents / labels.temperatures.intents).tolist()
        above = torch.sigmoid(logits.acuity.double() / labels.temperatures.acuity).tolist()
        tags = logits.tags / labels.temperatures.spans
        tags[..., 0] += labels.outside
        tags = torch.log_softmax(tags, dim=-1)
        statuses = torch.log_softmax(logits.statuses, dim=-1)
        answers = []
        for row, (text, tokens) in enumerate(zip(texts, tokenised, strict=True)):
            scores = (IntentScore(name=name, confidence=score) for name, score in zip(labels.intents, intents[row], strict=True))
            ranked = sorted(scores, key=lambda score: -score.confidence)
            levels = labels.prior if tokens.empty else levels_of(above[row], labels.acuities)
            understanding = Understanding(
                text=text,
                intents=[] if tokens.empty else self._sure(ranked),
                spans=[] if tokens.empty else self._spans(text, tokens, tags[row], statuses[row]),
                acuity=levels,
                called=None if tokens.empty else self.called(levels),
                version=self.version,
            )
            answers.append((understanding, ranked))
        return answers

    def called(self, levels: dict[Acuity, float]) -> Acuity:
        """The acuity under the thresholds that lean to the serious side."""
        leaning = self.labels.leaning
        above = 0.0
        for level, enough in ((Acuity.EMERGENCY, leaning.emergency), (Acuity.URGENT, leaning.urgent), (Acuity.ROUTINE, leaning.routine)):
            above += levels[level]
            if above >= enough:
                return level
        return Acuity.SELF_CARE

    def _sure(self, ranked: list[IntentScore]) -> list[IntentScore]:
        sure = [score for score in ranked if score.confidence >= self.labels.thresholds[score.name]]
        return sure or [score for score in ranked[:1] if score.confidence >= self.labels.least]

    def _spans(self, text: str, tokens: Tokenised, tags: Any, statuses: Any) -> list[Span]:
        words = [place for place, first in enumerate(tokens.first) if first]
        if not words:
            return []
        chosen = best_tags(tags[words].numpy(), _FOLLOWS * self.wide.transitions)
        found = spans_of(tokens, words, chosen, self.labels.spans)
        answers = []
        for label, start, end, inside in found:
            confidence = tags[[words[number] for number in inside], [chosen[number] for number in inside]].exp().mean()
            status = None
            if label is SpanLabel.SYMPTOM:
                status = self.labels.statuses[int(statuses[[words[number] for number in inside]].mean(0).argmax())]
            answers.append(Span(label=label, text=text[start:end], start=start, end=end, confidence=min(1.0, float(confidence)), status=status))
        return answers


def with_wide(logits: Logits, intents: Any, acuity: Any) -> Logits:
    """The logits with others added; those of acuity still fall."""
    return replace(logits, intents=logits.intents + intents, acuity=(logits.acuity + acuity).cummin(dim=1).values)


def levels_of(above: list[float], acuities: list[Acuity]) -> dict[Acuity, float]:
    """Each level's probability from those of being above each level but the last."""
    bounds = [1.0, *above, 0.0]
    return {level: bounds[number] - bounds[number + 1] for number, level in enumerate(acuities)}


def mean_of(outputs: list[Logits]) -> Logits:
    """The members' outputs as one."""
    if len(outputs) == 1:
        return outputs[0]
    return Logits(*(torch.stack([getattr(one, name) for one in outputs]).mean(0) for name in ("intents", "acuity", "tags", "statuses")))


def load_trained(networks: list[Any], state: dict[str, Any], folder: Path) -> None:
    """Puts the trained weights into the networks. Raises `ModelMismatch` where a name or a shape differs."""
    named = {f"{number}.{name}": value for number, network in enumerate(networks) for name, value in network.named_parameters() if value.requires_grad}
    wanted = {name: tuple(value.shape) for name, value in named.items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != given:
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        name = wrong[0]
        raise ModelMismatch(
            f"{folder / WEIGHTS_FILE} does not fit its label file in {len(wrong)} places, first {name}: "
            f"expected {wanted.get(name)}, found {given.get(name)}; take both files from one training"
        )
    with torch.no_grad():
        for name, value in named.items():
            value.copy_(state[name])


def first_member(folder: Path) -> dict[str, Any]:
    """The trained weights of a folder's first network. Raises `ModelMismatch`."""
    return {name: value for name, value in _state(folder).items() if name.startswith("0.")}


def _state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = load_file(str(folder / WEIGHTS_FILE))
    except SafetensorError as error:
        raise ModelMismatch(f"{folder / WEIGHTS_FILE} is not a safetensors file ({error}); train again") from error
    return state


def _matching_gazetteer(folder: Path, labels: LabelFile) -> Gazetteer:
    try:
        gazetteer = read_gazetteer(folder)
    except (OSError, ValueError) as error:
        raise ModelMismatch(f"{folder / GAZETTEER_FILE} is missing or broken ({type(error).__name__}); take it from the training of these weights") from error
    if gazetteer.digest != labels.gazetteer_sha256:
        raise ModelMismatch(f"{folder / GAZETTEER_FILE} is not the one these weights were trained with; take both from one training")
    return gazetteer
