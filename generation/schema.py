"""The one JSON schema that reaches the structured-output compiler: `TriageDraft`, bounded so that an answer stays short.

It is the same for every request, so vLLM compiles it once; which advice ids were offered is checked afterwards.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from care.acuity import Acuity

MAX_FINDINGS = 6
MAX_ADVICE = 3
FINDING_PATTERN = r"^[a-z][a-z0-9_ \-]{0,39}$"
ADVICE_ID_PATTERN = r"^[a-z][a-z0-9_\-]{0,47}$"


class StringRule(BaseModel):
    """A JSON-schema string."""

    type: str = "string"
    enum: list[str] | None = None
    pattern: str | None = None


class ListRule(BaseModel):
    """A JSON-schema array of strings."""

    type: str = "array"
    items: StringRule
    maxItems: int  # noqa: N815 - the JSON-schema key


class BooleanRule(BaseModel):
    """A JSON-schema boolean."""

    type: str = "boolean"


class DraftProperties(BaseModel):
    """The fields of `TriageDraft`, in the order in which the model writes them."""

    acuity: StringRule = StringRule(enum=[level.value for level in Acuity])
    findings: ListRule = ListRule(items=StringRule(pattern=FINDING_PATTERN), maxItems=MAX_FINDINGS)
    advice: ListRule = ListRule(items=StringRule(pattern=ADVICE_ID_PATTERN), maxItems=MAX_ADVICE)
    unsure: BooleanRule = BooleanRule()


class DraftSchema(BaseModel):
    """The schema of an answer; `DRAFT_SCHEMA` is its one instance."""

    type: str = "object"
    properties: DraftProperties = DraftProperties()
    required: list[str] = Field(default_factory=lambda: list(DraftProperties.model_fields))
    additionalProperties: bool = False  # noqa: N815 - the JSON-schema key


DRAFT_SCHEMA = DraftSchema()


class NamedSchema(BaseModel):
    """A schema with the name that OpenAI's interface wants."""

    name: str = "triage_draft"
    strict: bool = True
    schema_: DraftSchema = Field(default=DRAFT_SCHEMA, serialization_alias="schema")


class ResponseFormat(BaseModel):
    """`response_format` of a request to vLLM."""

    type: str = "json_schema"
    json_schema: NamedSchema = NamedSchema()
