"""A training run's settings, read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlu.augment import Augmentation
from nlu.labels import Shape

_REMEDIES = {"missing": "add it", "extra_forbidden": "take it out or correct its spelling"}


class RecipeInvalid(Exception):
    """The recipe has a mistake; the message names the file, the field and the remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossWeights(_Part):
    """Each task's share in the loss."""

    intents: float = Field(ge=0)
    acuity: float = Field(ge=0)
    spans: float = Field(ge=0)
    statuses: float = Field(ge=0)


class ClassWeights(_Part):
    """How much the rare weighs more: 0 not at all, 1 until every class weighs the same in all."""

    intents: float = Field(ge=0, le=1)
    acuity: float = Field(ge=0, le=1)
    inside_spans: float = Field(ge=1, description="A word inside a span against one outside.")


class Recipe(_Part):
    """`nlu/recipes/reference.yaml` says why each number is what it is."""

    seeds: list[int] = Field(min_length=1, max_length=8, description="One network a seed; several are an ensemble.")
    threads: int = Field(ge=1)
    bfloat16: bool
    epochs: int = Field(ge=1)
    epoch_messages: int = Field(ge=0, description="At most so many of the voices' messages an epoch, drawn anew; 0: all.")
    patience: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    shape: Shape
    dropout: float = Field(ge=0, lt=1)
    adapter_dropout: float = Field(ge=0, lt=1)
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1)
    averaging: float = Field(ge=0, lt=1, description="Decay of the moving average of the weights; 0: none.")
    adversarial: float = Field(ge=0, description="FGM: length of the push on the words' vectors; 0: none.")
    agreement: float = Field(ge=0, description="R-Drop: weight of the difference of two dropouts of the same message; 0: none.")
    linear: bool = Field(description="Whether a linear reading of the very words is added to the network's.")
    loss: LossWeights
    class_weights: ClassWeights
    augment: Augmentation


def read_recipe(path: Path, changes: dict[str, Any] | None = None) -> Recipe:
    """The recipe in `path`, with `changes` of fields by dotted name. Raises `RecipeInvalid`."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in (changes or {}).items():
            *way, field = name.split(".")
            part = settings
            for step in way:
                part = part[step]
            part[field] = value
        return Recipe.model_validate(settings)
    except (OSError, yaml.YAMLError) as error:
        raise RecipeInvalid(f"{path}: not readable ({error}); see nlu/recipes/reference.yaml") from error
    except (KeyError, TypeError) as error:
        raise RecipeInvalid(f"{path}: {error} is no part of the recipe; see nlu/recipes/reference.yaml") from error
    except ValidationError as error:
        lines = (f"field {'.'.join(map(str, problem['loc']))}: {problem['msg']}; {_REMEDIES.get(problem['type'], 'correct it')}" for problem in error.errors())
        raise RecipeInvalid(f"{path}: {'; '.join(lines)} (see nlu/recipes/reference.yaml)") from error
