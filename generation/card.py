"""The model card of a trained model: what it is, what it was measured at, and what it must not be used for."""

from __future__ import annotations

from pathlib import Path

from generation.figures import Figures
from generation.recipe import Recipe

_SCRATCH = """It exists so that the true path (vLLM, structured output, client, guard, triage) runs on any machine without a download. It knows nothing beyond
its training messages and is **not** fit to decide about patients: its vote can only raise what the rules and the encoder say, a wide disagreement goes to a
person, and its words leave only where the guard finds them backed by approved advice. Serve a real base model for real use (`docs/generation.md`)."""
_TUNED = """It drafts a triage that the rules, the encoder and the guard stand around: its vote can only raise what they say, a wide disagreement
goes to a person, and its words leave only where the guard finds them backed by approved advice. It must not be used without them, and not before
clinicians have reviewed it on messages of the patients it is meant for."""


def write_card(
    path: Path, *, recipe: Recipe, recipe_path: Path, parameters: int, steps: int, data: dict[str, dict[str, int]], before: Figures | None, after: Figures
) -> None:
    """Writes the card to `path`."""
    kind = f"{recipe.base}, fine-tuned" if recipe.base else "a Llama-architecture model with its own byte-level tokenizer, trained from scratch"
    sources = [
        "this project's labelled corpora (`nlu/corpora`, invented voices)" if recipe.data.voices else "",
        "the red-flag rules' own examples" if recipe.data.rules else "",
        f"{recipe.data.graph} reports composed from the knowledge graph" if recipe.data.graph else "",
        f"`{recipe.data.jsonl.name}`, de-identified" if recipe.data.jsonl else "",
    ]
    path.write_text(
        f"""# {recipe.name}

{kind[0].upper()}{kind[1:]} ({parameters:,} parameters) by `aftercare train generator --recipe {recipe_path.name}`: seed {recipe.seed}, {steps} steps of
{recipe.training.batch * recipe.training.accumulate} examples. It reads a patient's report with its context, findings and candidate advice, and
writes the JSON of `TriageDraft`. Trained on {", ".join(each for each in sources if each)};
the loss over time is in `curve.csv`.

## What it is for

{_TUNED if recipe.base else _SCRATCH}

## Data

| split | writers | messages | emergency | urgent | routine | self_care |
| --- | --- | --- | --- | --- | --- | --- |
{_splits(data)}

No writer is in two splits, and no message of five words or more is worded as one held out (both are checked by every run).

## Measured

On the {after.messages} messages of the test split, greedily and without a grammar, weights rounded as exported:

| measure | {"before | after" if before else "value"} |
| --- | --- |{" --- |" if before else ""}
{_figures(before, after)}

Longest answer: {after.longest_answer} tokens.

## Limits

Mostly English, with a little Spanish. The corpora are invented voices, not patients. Labels of red flags come from the project's own rules and
labels of advice from its own retrieval, so the model learns their mistakes as well.
""",
        encoding="utf-8",
    )


def _splits(data: dict[str, dict[str, int]]) -> str:
    fields = ("writers", "messages", "emergency", "urgent", "routine", "self_care")
    return "\n".join(f"| {name} | {' | '.join(str(told[field]) for field in fields)} |" for name, told in data.items())


def _figures(before: Figures | None, after: Figures) -> str:
    earlier = before.shares() if before else {}
    rows = []
    for name, share in after.shares().items():
        values = [*([_percent(earlier[name])] if before else []), _percent(share)]
        rows.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(rows)


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
