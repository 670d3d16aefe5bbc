"""The vLLM-served triage model: its prompt, its schema, its client, its serving and its training."""

REFERENCE_MODEL = "aftercare-reference"
"""The name under which `generation.serve` serves the reference model."""
