"""The model card of a trained model: what it is, what it was measured at, and what it must not be used for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Figures:
    """Counts over the held-out messages; `serious` are those labelled urgent or emergency and answered in the schema."""

    messages: int = 0
    self_care: int = 0
    right: int = 0
    under: int = 0
    serious: int = 0
    serious_seen: int = 0
    malformed: int = 0
    longest_answer: int = 0

    def summary(self) -> str:
        """The figures in one line."""
        return (
            f"{self.messages} held-out messages: acuity right {_share(self.right, self.messages)}, "
            f"too low {_share(self.under, self.messages)}, "
            f"urgent or emergency seen as such {_share(self.serious_seen, self.serious)}, "
            f"not in the schema {_share(self.malformed, self.messages)}, longest answer {self.longest_answer} tokens"
        )


def write_card(path: Path, *, recipe_name: str, parameters: int, steps: int, taught: int, held_out: list[str], figures: Figures) -> None:
    """Writes the card to `path`."""
    path.write_text(
        f"""# Aftercare reference triage model

A Llama-architecture model of {parameters:,} parameters with a byte-level BPE tokenizer, trained from scratch by `generation/train.py`
with `generation/recipes/{recipe_name}` ({steps} steps) on {taught} messages: this project's own labelled corpora (`nlu/corpora/voices`) and
the examples of its red-flag rules. It reads a patient's report with its context, findings and candidate advice, and writes the
JSON of `TriageDraft`.

## What it is for

It exists so that the true path (vLLM, structured output, client, triage) runs on any machine without a download. It is **not** fit to
decide about patients: its vote can only raise what the rules and the encoder say, and a wide disagreement goes to a person.
Point `AFTERCARE_VLLM_URL` at an instruct model for real use.

## Measured

On the voices {", ".join(held_out)}, which it was never trained on, greedily and without a grammar, rounded to bfloat16:

| measure | value |
| --- | --- |
| messages | {figures.messages} |
| acuity right | {_share(figures.right, figures.messages)} |
| labelled self_care (what always saying so would get right) | {_share(figures.self_care, figures.messages)} |
| acuity too low | {_share(figures.under, figures.messages)} |
| urgent or emergency seen as urgent or emergency | {_share(figures.serious_seen, figures.serious)} |
| answers outside the schema | {_share(figures.malformed, figures.messages)} |
| longest answer | {figures.longest_answer} tokens |

## Limits

English, with a little Spanish; surgical follow-up only; written by a few authors in invented voices, not by patients. The findings
it names come from the lexicon's findings in its prompt. It has no knowledge beyond these messages.
""",
        encoding="utf-8",
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "not measured"
