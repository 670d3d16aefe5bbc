"""A training run's settings, read from YAML."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlu.adapters import Target
from nlu.augment import Augmentation


class RecipeInvalid(Exception):
    """The recipe has a mistake; the message names the file, the field and the remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AdapterRecipe(_Part):
    """The adapters' size and places, and the dropout before the heads."""

    rank: int = Field(ge=1, le=64)
    alpha: float = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    targets: list[Target] = Field(min_length=1)


class LossWeights(_Part):
    """Each task's share in the loss."""

    intents: float = Field(ge=0)
    acuity: float = Field(ge=0)
    spans: float = Field(ge=0)


class Recipe(_Part):
    """`nlu/recipes/reference.yaml` says why each number is what it is."""

    seed: int
    threads: int = Field(ge=1)
    epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    adapters: AdapterRecipe
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1)
    loss: LossWeights
    positive_weight: float = Field(ge=1)
    acuity_balance: float = Field(ge=0, le=1)
    augment: Augmentation


def read_recipe(path: Path) -> Recipe:
    """The recipe in `path`. Raises `RecipeInvalid`."""
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise RecipeInvalid(f"{path}: not readable ({error}); see nlu/recipes/reference.yaml") from error
    except ValidationError as error:
        lines = (f"field {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors())
        raise RecipeInvalid(f"{path}: {'; '.join(lines)}; see nlu/recipes/reference.yaml") from error
