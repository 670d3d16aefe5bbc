"""The label file beside the weights: what each output of the heads stands for, and how the outputs are read."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel, SymptomStatus

ENCODER: Literal["all-MiniLM-L6-v2"] = "all-MiniLM-L6-v2"
LABELS_FILE, WEIGHTS_FILE, CARD_FILE = "labels.json", "weights.safetensors", "model-card.md"


class ModelMismatch(Exception):
    """The weights, the label file and this code do not belong together; the message says which and the remedy."""


class Mode(StrEnum):
    """How much of the base is trained: nothing, low-rank adapters, or the layers themselves."""

    FROZEN = "frozen"
    LORA = "lora"
    FULL = "full"


class Target(StrEnum):
    """The linear layers of a transformer block that can be adapted, by their names in the base."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    ATTENTION_OUTPUT = "attention.output.dense"
    INTERMEDIATE = "intermediate.dense"
    OUTPUT = "output.dense"


class Shape(BaseModel):
    """The network's trained parts. `frozen_layers` of the base, counted from below, stay as they came; the embeddings always do."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Mode
    frozen_layers: int = Field(ge=0, le=6)
    rank: int = Field(ge=1, le=64)
    alpha: float = Field(gt=0)
    targets: list[Target] = Field(min_length=1)
    span_width: int = Field(ge=16, le=1024, description="Width of the layer before the span heads.")
    gazetteer: bool = Field(description="Whether the network is told what the gazetteer knows each word as.")


class Shares(BaseModel):
    """How much the linear reading of the words is added to the network's logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    intents: float = Field(0.0, ge=0)
    acuity: float = Field(0.0, ge=0)


class Leaning(BaseModel):
    """The probability at or above which at least this acuity is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    routine: float = Field(0.5, gt=0, lt=1)
    urgent: float = Field(0.5, gt=0, lt=1)
    emergency: float = Field(0.5, gt=0, lt=1)


class Temperatures(BaseModel):
    """What logits are divided by before they become probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    intents: float = Field(1.0, gt=0)
    acuity: float = Field(1.0, gt=0)
    spans: float = Field(1.0, gt=0)


class LabelFile(BaseModel):
    """`labels.json`. The order of `intents`, `acuities`, `spans` and `statuses` is the order of the heads' outputs.

    An intent is answered at its threshold; where none reaches its own, the most probable at `least`. `outside` is added to the
    logit of "no span" before the tags are read. `members` networks are averaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[2] = 2
    encoder: Literal["all-MiniLM-L6-v2"] = ENCODER
    shape: Shape
    members: int = Field(1, ge=1, le=8)
    intents: list[Intent]
    acuities: list[Acuity]
    spans: list[SpanLabel]
    statuses: list[SymptomStatus]
    thresholds: dict[Intent, float]
    least: float = Field(1.0, ge=0, le=1)
    leaning: Leaning = Leaning()
    shares: Shares = Shares()
    outside: float = 0.0
    temperatures: Temperatures = Temperatures()
    prior: dict[Acuity, float]
    gazetteer_sha256: str
    weights_sha256: str

    @model_validator(mode="after")
    def _complete(self) -> LabelFile:
        for name, listed, known in (
            ("intents", self.intents, Intent),
            ("acuities", self.acuities, Acuity),
            ("spans", self.spans, SpanLabel),
            ("statuses", self.statuses, SymptomStatus),
        ):
            if sorted(listed) != sorted(known):
                raise ValueError(f"{name} are not the ones this code knows: {sorted(set(map(str, known)) ^ set(map(str, listed)))}")
        if set(self.thresholds) != set(self.intents):
            raise ValueError("thresholds must name every intent once")
        if self.acuities != list(Acuity):
            raise ValueError("acuities must stand from the mildest to the most serious")
        return self

    @property
    def version(self) -> str:
        """Names these weights with their labels in stored evidence."""
        return f"nlu-{self.weights_sha256[:6]}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:6]}"


def tag_of(label_index: int, *, begins: bool) -> int:
    """The token class of a span label: 0 is outside, then begin and inside by turns."""
    return 1 + 2 * label_index + (0 if begins else 1)


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights file, in hexadecimal."""
    return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()


def read_labels(folder: Path) -> LabelFile:
    """The label file of `folder`, checked against the weights beside it. Raises `ModelMismatch`."""
    for name in (LABELS_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelMismatch(f"{folder / name} is missing; train with `aftercare train nlu --out {folder}` or name another folder with --model")
    try:
        labels = LabelFile.model_validate_json((folder / LABELS_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelMismatch(f"{folder / LABELS_FILE}: {field}: {first['msg']}; train again, or take the label file of these weights") from error
    found = weights_digest(folder)
    if found != labels.weights_sha256:
        raise ModelMismatch(
            f"{folder}: {LABELS_FILE} belongs to weights {labels.weights_sha256[:12]}, but {WEIGHTS_FILE} is {found[:12]}; take both from one training"
        )
    return labels
