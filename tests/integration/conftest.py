"""Conversations with the running dialogue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Service
from tests.integration.talk import Talk


@pytest.fixture
def talk(service: Service) -> Callable[..., Talk]:
    """A new conversation; `questions` are those of the open check-in."""

    def begin(*questions: str, consent: bool = True, language: str = "en") -> Talk:
        return Talk(service, list(questions), consent, language)

    return begin


@pytest.fixture
def checked_in(talk: Callable[..., Talk]) -> Callable[..., Talk]:
    """A conversation in which the first question has just been asked."""

    def begin(*questions: str, language: str = "en") -> Talk:
        started = talk(*questions, language=language)
        assert started.hears("start_check_in") == ["check_in_intro", f"question_{questions[0]}"]
        return started

    return begin
