"""The scripted texts as this clinic says them."""

from __future__ import annotations

from care.knowledge import knowledge
from care.settings import settings


def scripted(key: str, language: str = "en", **values: str) -> str:
    """The text of `key` with the clinic's name, phone and emergency number filled in."""
    current = settings()
    return knowledge().text(key, language, clinic=current.clinic_name, clinic_phone=current.clinic_phone, emergency_number=current.emergency_number, **values)
