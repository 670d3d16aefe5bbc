"""The vLLM-served triage model: its prompt, its schema, its client, its serving and its training."""

REFERENCE_MODEL = "aftercare-reference"
"""The name under which `generation.serve` serves the reference model."""


def decides(model: str) -> bool:
    """Whether a served model's vote may raise what a patient is told: the reference model's may not (its card says why)."""
    return model.partition("@")[0] != REFERENCE_MODEL
