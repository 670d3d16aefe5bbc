"""What is needed to take a patient in, checked."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import phonenumbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

from care.settings import settings

_DEFAULT_REGION = "US"


def normalise_phone(raw: str) -> str:
    """`raw` in E.164 (a number without a country code is taken as US). Raises `ValueError` naming the remedy."""
    try:
        number = phonenumbers.parse(raw, _DEFAULT_REGION)
    except phonenumbers.NumberParseException as error:
        raise ValueError("not a phone number; write it like +15551234567") from error
    if number.extension or not phonenumbers.is_possible_number(number):
        raise ValueError("not a phone number that can be texted; write it like +15551234567, without an extension")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("not an IANA time zone; write it like America/Chicago") from error
    return value


Phone = Annotated[str, AfterValidator(normalise_phone)]
Zone = Annotated[str, AfterValidator(_known_zone)]
State = Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]


class Place(BaseModel):
    """Where a patient is: the time zone, and the two letters of a US state, whose quiet hours then hold as well."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    timezone: Zone
    state: State | None = None


class Way(StrEnum):
    """How a patient reached a person of the clinic."""

    PHONE = "phone"
    IN_PERSON = "in_person"
    EMAIL = "email"
    MAIL = "mail"
    OTHER = "other"


class OptOut(BaseModel):
    """A wish to get no more messages, as a person heard or read it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    way: Way
    words: str = Field(min_length=1, max_length=1000, description="What the patient said, as nearly as can be.")


class CheckedPhone(BaseModel):
    """The number that a person checked to be the patient's."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    phone: Phone


class PhoneUse(BaseModel):
    """Who reads the patient's phone."""

    model_config = ConfigDict(extra="forbid")

    shared: bool = Field(description="Others read it as well: messages say no more than that one waits in the web chat.")


class NewPatient(BaseModel):
    """A patient and the date that follow-up counts from (the discharge)."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reference: str = Field(min_length=1, max_length=64, description="The clinic's own identifier of the patient.")
    name: str = Field(min_length=1, max_length=120)
    phone: Phone
    date_of_birth: date
    timezone: Zone = Field(default_factory=lambda: settings().site_timezone, description="IANA name; without one the site's.")
    state: State | None = Field(None, description="Two letters of a US state, whose quiet hours then hold as well.")
    carrier: str | None = Field(None, pattern="^[a-z0-9_-]{1,24}$", description="The carrier of the number, where it is known and has a pace of its own.")
    language: str = Field("en", pattern="^(en|es|zh)$")
    shared_phone: bool = Field(False, description="Others read the phone as well: messages say no more than that one waits in the web chat.")
    sex: str | None = Field(None, pattern="^(female|male|other)$")
    anchor: date = Field(description="The discharge or visit; day 0 of the protocol.")

    @field_validator("date_of_birth")
    @classmethod
    def _plausible_birth(cls, value: date) -> date:
        if not date(1900, 1, 1) <= value <= date.today():
            raise ValueError("must lie between 1900 and today; write it like 1958-03-27")
        return value
