"""The one JSON schema that reaches the structured-output compiler: that of `TriageDraft`.

It is the same for every request, so vLLM compiles it once; which ids were offered is checked afterwards.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from care.triage.model import TriageDraft

DRAFT_SCHEMA: dict[str, Any] = TriageDraft.model_json_schema()


class NamedSchema(BaseModel):
    """A schema with the name that OpenAI's interface wants."""

    name: str = "triage_draft"
    strict: bool = True
    schema_: dict[str, Any] = Field(default=DRAFT_SCHEMA, serialization_alias="schema")


class ResponseFormat(BaseModel):
    """`response_format` of a request to vLLM."""

    type: str = "json_schema"
    json_schema: NamedSchema = NamedSchema()


DRAFT_FORMAT = ResponseFormat()
