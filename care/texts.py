"""The scripted texts as this clinic says them, days and hours in the patient's language; counts and the names of languages for a coordinator."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time, get_datetime_format
from babel.numbers import format_decimal

from care.knowledge import knowledge
from care.settings import settings

_LOCALES = {"en": "en_US", "es": "es_US", "zh": "zh_Hans_CN"}


def scripted(key: str, language: str = "en", **values: str) -> str:
    """The text of `key` with the clinic's name, phone and emergency number filled in."""
    current = settings()
    return knowledge().text(key, language, clinic=current.clinic_name, clinic_phone=current.clinic_phone, emergency_number=current.emergency_number, **values)


def language_name(language: str) -> str:
    """The English name of an ISO 639-1 code, for a coordinator."""
    return str(Locale("en").languages.get(language, language))


def counted(number: int, one: str, other: str) -> str:
    """Such as "1 patient" and "1,200 patients", for a coordinator."""
    words = one if Locale("en").plural_form(number) == "one" else other
    return f"{format_decimal(number, locale='en_US')} {words}"


def local_day_and_hour(moment: datetime, zone: str, language: str) -> str:
    """Such as "Monday, March 2, 10:30 AM", as the language writes it."""
    local, locale = moment.astimezone(ZoneInfo(zone)), _LOCALES.get(language, "en_US")
    day, hour = format_date(local, _DAY.get(language, _DAY["en"]), locale), format_time(local, "short", locale=locale)
    return str(get_datetime_format("medium", locale=locale)).format(hour, day).replace("\u202f", " ")


_DAY = {"en": "EEEE, MMMM d", "es": "EEEE d 'de' MMMM", "zh": "M月d日EEEE"}
