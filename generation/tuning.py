"""Stages 3 and 4, settings and training: a model with what may move in it, and trl's trainer with our loss and our clock."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    EarlyStoppingCallback,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    set_seed,
)
from trl import SFTConfig, SFTTrainer

from generation.prompt import END
from generation.recipe import BaseInvalid, Recipe, TrainingPart
from generation.task import PAD, Collator, Encoded, make_tokenizer

_IGNORED = -100


def make_model(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> PreTrainedModel:
    """A Llama of the recipe's shape with fresh weights."""
    shape = recipe.shape
    assert shape is not None
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads,
            intermediate_size=shape.feed_forward,
            max_position_embeddings=shape.positions,
            attention_dropout=recipe.settings.dropout,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(END),
            pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        )
    )


def load(recipe: Recipe, texts: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base with its tokenizer, or a fresh model with one made of `texts`. Raises `BaseInvalid`."""
    set_seed(recipe.seed)
    if recipe.base is None:
        assert recipe.tokenizer is not None
        tokenizer = make_tokenizer(texts, recipe.tokenizer)
        return make_model(tokenizer, recipe), tokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(recipe.base)
        model = AutoModelForCausalLM.from_pretrained(recipe.base, dtype=torch.bfloat16 if _in_bfloat16(recipe.training) else torch.float32)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise BaseInvalid(
            f"base {recipe.base}: {first} Give the folder of a causal model with its tokenizer, or a hub name that this machine can reach"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if recipe.settings.dropout and hasattr(model.config, "attention_dropout"):
        model.config.attention_dropout = recipe.settings.dropout
    freeze(model, recipe.settings.frozen_layers)
    return model, tokenizer


def load_trained(folder: Path, base: str | None) -> tuple[Any, PreTrainedTokenizerBase]:
    """An exported model with its tokenizer: merged, or an adapter on its base."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (folder / "adapter_config.json").is_file():
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder), tokenizer
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer


def freeze(model: PreTrainedModel, layers: int) -> None:
    """Keeps the lowest `layers` and the embeddings as they are. Raises `BaseInvalid` where the model has fewer."""
    if not layers:
        return
    stack = getattr(model.get_decoder(), "layers", [])
    if layers >= len(stack):
        raise BaseInvalid(f"settings.frozen_layers: {layers}, but the base has {len(stack)} layers; leave at least one to learn")
    for module in (model.get_input_embeddings(), *stack[:layers]):
        module.requires_grad_(False)


def lora(recipe: Recipe, model: PreTrainedModel) -> LoraConfig | None:
    """The adapter of the recipe, on the layers that are not frozen."""
    part, frozen = recipe.settings.lora, recipe.settings.frozen_layers
    if part is None:
        return None
    above = list(range(frozen, len(model.get_decoder().layers))) if frozen else None
    targets = part.targets if isinstance(part.targets, str) else list(part.targets)
    return LoraConfig(task_type="CAUSAL_LM", r=part.rank, lora_alpha=part.alpha, lora_dropout=part.dropout, target_modules=targets, layers_to_transform=above)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Ends training when its minutes are over, and writes the curve as it goes."""

    def __init__(self, minutes: float | None, curve: Path) -> None:
        self.minutes, self.curve, self.began = minutes, curve, time.monotonic()

    @property
    def done(self) -> float:
        """The share of the minutes that is over; 0 without a limit."""
        return (time.monotonic() - self.began) / (self.minutes * 60) if self.minutes else 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock."""
        self.began = time.monotonic()
        if not self.curve.exists():
            self.curve.write_text("step,minutes,learning_rate,loss,validation_loss\n", encoding="utf-8")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stops where the minutes are over."""
        if self.done >= 1:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """A line of the curve."""
        told = logs or {}
        if "loss" in told or "eval_loss" in told:
            minutes = (time.monotonic() - self.began) / 60
            row = [state.global_step, f"{minutes:.2f}", *(f"{told[name]:.6g}" if name in told else "" for name in ("learning_rate", "loss", "eval_loss"))]
            with self.curve.open("a", encoding="utf-8") as opened:
                opened.write(",".join(map(str, row)) + "\n")


class Trainer(SFTTrainer):  # type: ignore[misc]
    """trl's trainer with the answers' tokens weighed: the loss is of the answer alone. `clock` is set before training begins."""

    clock: Clock

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Where minutes are given the learning rate falls (as a cosine) with whichever is nearer its end, the steps or the clock."""
        if self.clock.minutes is None:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup: int = max(1, self.args.warmup_steps)

        def share(step: int) -> float:
            done: float = min(1.0, max(step / num_training_steps, self.clock.done))
            fallen: float = 0.5 + 0.5 * math.cos(math.pi * done)
            return fallen * min(1.0, (step + 1) / warmup)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
        return self.lr_scheduler

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Weighted cross entropy over the answers."""
        labels, weights = inputs["labels"], inputs["weights"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=labels.shape[1] + 1, use_cache=False)
        asked = labels != _IGNORED
        losses = torch.nn.functional.cross_entropy(outputs.logits[:, :-1][asked].float(), labels[asked], reduction="none")
        loss = (losses * weights[asked]).sum() / weights[asked].sum()
        return (loss, {"loss": loss}) if return_outputs else loss


def reporters() -> list[str]:
    """TensorBoard always; W&B where it is configured. Raises `BaseInvalid` where it is and its package is missing."""
    if not (os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") == "offline"):
        return ["tensorboard"]
    if importlib.util.find_spec("wandb") is None:
        raise BaseInvalid("W&B is configured (WANDB_API_KEY or WANDB_MODE) but not installed; install wandb in var/envs/train, or unset it")
    return ["tensorboard", "wandb"]


def _on_cpu(training: TrainingPart) -> bool:
    return training.device == "cpu" or not torch.cuda.is_available()


def _in_bfloat16(training: TrainingPart) -> bool:
    """Where the recipe asks for it and the processor can multiply it: one that cannot takes sixty times as long as for float32."""
    able = torch.cpu.get_capabilities()
    return training.bf16 and (not _on_cpu(training) or any(able.get(each) for each in ("avx512_bf16", "amx_bf16", "bf16")))


def arguments(recipe: Recipe, work: Path) -> SFTConfig:
    """trl's settings for this run; on several GPUs or machines `accelerate launch` or `torchrun` sets the rest."""
    training, settings = recipe.training, recipe.settings
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(work / "tensorboard"))
    stops = settings.early_stopping is not None
    return SFTConfig(
        output_dir=str(work),
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=_on_cpu(training),
        bf16=_in_bfloat16(training),
        optim=settings.optimiser,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch,
        per_device_eval_batch_size=training.batch,
        gradient_accumulation_steps=training.accumulate,
        gradient_checkpointing=training.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},  # the other way loses the gradient above frozen layers
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        eval_strategy="steps",
        eval_steps=training.evaluate_every,
        save_strategy="steps",
        save_steps=training.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=stops,
        metric_for_best_model="eval_loss" if stops else None,
        greater_is_better=False if stops else None,
        logging_steps=10,
        report_to=reporters(),
        run_name=recipe.name,
        remove_unused_columns=False,
        prediction_loss_only=True,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=not _on_cpu(training),
    )


def train(
    recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, taught: list[Encoded], checked: list[Encoded], work: Path, *, resume: bool
) -> tuple[Any, int]:
    """Trains, from the last checkpoint where `resume` is set and there is one. Returns the model (with its adapter) and the number of steps."""
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    clock = Clock(recipe.training.minutes, work / "curve.csv")
    callbacks: list[TrainerCallback] = [clock]
    if recipe.settings.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(recipe.settings.early_stopping))
    trainer = Trainer(
        model=model,
        args=arguments(recipe, work),
        train_dataset=_dataset(taught),
        eval_dataset=_dataset(checked),
        processing_class=tokenizer,
        data_collator=Collator(int(tokenizer.pad_token_id)),
        peft_config=lora(recipe, model),
        callbacks=callbacks,
    )
    trainer.clock = clock
    last = resume and any(work.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=True if last else None)
    return trainer.model, trainer.state.global_step


def _dataset(encoded: list[Encoded]) -> Dataset:
    rows = [{"prompt": each.prompt, "wanted": each.wanted, "weights": each.weights, "length": len(each.prompt) + len(each.wanted)} for each in encoded]
    return Dataset.from_list(rows)
