"""The patterns of `wishes.yaml`: what patients write to the service about the service itself."""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Polite(BaseModel):
    """What may stand around a wish that is the whole message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str
    after: str


class WishPatterns(BaseModel):
    """The file as it is written; `compiled` gives an entry as one pattern."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: dict[str, str]
    needed: str
    stop_whole: list[str] = Field(min_length=1)
    polite: Polite
    stop_within: list[str] = Field(min_length=1)
    number_whole: list[str] = Field(min_length=1)
    number_within: list[str] = Field(min_length=1)
    shared_within: list[str] = Field(min_length=1)
    unless_before: list[str] = Field(min_length=1)
    asks: str
    requests: str
    fillers: str
    traditional: str
    simplified: str

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        for field in ("needed", "asks", "requests", "stop_whole", "stop_within", "number_whole", "number_within", "shared_within", "unless_before"):
            given = getattr(self, field)
            for source in [given] if isinstance(given, str) else given:
                try:
                    self.compiled(source)
                except re.error as error:
                    raise ValueError(f"{field}: {source!r} is no regular expression ({error})") from error
        if len(self.traditional) != len(self.simplified):
            raise ValueError("simplified: give one character for each of `traditional`")
        return self

    def compiled(self, *sources: str, alone: bool = False) -> re.Pattern[str]:
        """Any of the sources, with `parts` filled in; `alone`: as a whole message, with what stands politely around it."""
        joined = "|".join(f"(?:{source})" for source in sources)
        for name, part in self.parts.items():
            joined = joined.replace("{" + name + "}", part)
        return re.compile(f"{self.polite.before}(?:{joined}){self.polite.after}" if alone else joined)
