"""A training run, as a file of `generation/recipes/` says it: the stages in order, each number with its reason beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from care.acuity import Acuity

RECIPES = Path(__file__).with_name("recipes")


class RecipeInvalid(Exception):
    """The recipe has a mistake; the message names the file, the field and the remedy."""


class BaseInvalid(Exception):
    """The base cannot be loaded, or a setting does not fit it; the message says what to correct."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPart(_Part):
    """Stage 1. `voices`: this project's corpora, invented; `jsonl`: lines of {"text", "acuity", "patient"} and what else is known of them.

    A file's lines are somebody's own words: they are always de-identified.
    The validation and test voices are those of `nlu/corpora/splits.yaml`; of a file, `validation` and `test` are the shares of its patients held out.
    """

    voices: bool = True
    rules: bool = True
    graph: int = Field(default=0, ge=0, description="Reports composed from the knowledge graph.")
    jsonl: Path | None = None
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, gt=0, lt=0.5)
    examples: int = Field(ge=1, description="How many varied examples are made of the training messages.")
    joined: float = Field(ge=0, le=1)
    misspelt: float = Field(ge=0, le=1)
    injected: float = Field(ge=0, le=1)
    known_context: float = Field(ge=0, le=1)
    shares: dict[Acuity, float]


class TokenizerPart(_Part):
    """A byte-level BPE tokenizer made from the training texts; ids of the knowledge are whole tokens."""

    vocabulary: int = Field(ge=300)


class ShapePart(_Part):
    """The shape of a Llama with fresh weights."""

    hidden: int = Field(ge=32)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    key_value_heads: int = Field(ge=1)
    feed_forward: int = Field(ge=32)
    positions: int = Field(ge=256)


class FormatPart(_Part):
    """Stage 2. The compact prompt of the reference model, or the chat prompt with the base's own template."""

    style: Literal["completion", "chat"]
    max_tokens: int = Field(ge=128, description="Longest example; a longer one is left out.")
    acuity_weight: float = Field(default=1.0, ge=1, description="How much the tokens up to the acuity weigh against the others.")


class LoraPart(_Part):
    """A low-rank adapter instead of all weights."""

    rank: int = Field(ge=1, le=256)
    alpha: float = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = "all-linear"


class SettingsPart(_Part):
    """Stage 3. How it is optimised, and what of the model may move."""

    optimiser: str = Field(default="adamw_torch", description="A name of transformers' OptimizerNames.")
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Of the attention, where the architecture has it.")
    lora: LoraPart | None = None
    frozen_layers: int = Field(default=0, ge=0, description="This many of the lowest layers, and the embeddings, stay as they are.")
    early_stopping: int | None = Field(default=None, ge=1, description="Evaluations without a lower validation loss before it stops.")


class TrainingPart(_Part):
    """Stage 4. Where and how long."""

    device: Literal["auto", "cpu"] = "auto"
    bf16: bool = True
    threads: int | None = Field(default=None, ge=1)
    batch: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    minutes: float | None = Field(default=None, gt=0, description="Wall clock; ends before the epochs do where they take longer.")
    evaluate_every: int = Field(default=200, ge=1)
    gradient_checkpointing: bool = False


class EvaluationPart(_Part):
    """Stage 5. How many messages are asked before and after; none: all of them."""

    messages: int | None = Field(default=None, ge=1)
    before: bool = True


class ExportPart(_Part):
    """How vLLM is to load it: the adapter merged into the base, or the adapter alone, loaded while vLLM runs."""

    kind: Literal["merged", "adapter"] = "merged"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    install: str | None = Field(default=None, description="Folder of the repository that a promoted version is copied to.")


class Recipe(_Part):
    """A run. Without a base a Llama is made from scratch, with its own tokenizer."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")
    seed: int
    base: str | None = None
    data: DataPart
    tokenizer: TokenizerPart | None = None
    shape: ShapePart | None = None
    format: FormatPart
    settings: SettingsPart
    training: TrainingPart
    evaluation: EvaluationPart = EvaluationPart()
    export: ExportPart = ExportPart()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.base is None and (self.tokenizer is None or self.shape is None):
            raise ValueError("give a base (a folder or a hub name), or a tokenizer and a shape to make one")
        if self.base is None and self.settings.lora is not None:
            raise ValueError("settings.lora: a model made from scratch has no base to adapt; leave it out")
        if self.export.kind == "adapter" and self.settings.lora is None:
            raise ValueError("export.kind adapter: there is no adapter without settings.lora; give one or say merged")
        return self


def read_recipe(path: Path) -> Recipe:
    """The recipe in `path`. Raises `RecipeInvalid`."""
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise RecipeInvalid(f"{path}: not readable ({error}); see generation/recipes/") from error
    except ValidationError as error:
        lines = (f"{'.'.join(str(part) for part in problem['loc']) or 'the recipe'}: {problem['msg']}" for problem in error.errors())
        raise RecipeInvalid(f"{path}: {'; '.join(lines)}; see generation/recipes/reference.yaml") from error
