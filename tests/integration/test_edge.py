"""What the web process refuses before anything reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")
PIECE = b"a" * 65_536


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with TestClient(create_app()) as client:
        yield client


@pytest.mark.parametrize("path", ["/sms/inbound", "/console/login", "/api/v1/campaigns"])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_body_that_is_too_large_is_refused_whole_or_in_pieces(browser: TestClient, path: str, in_pieces: bool) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded" if "api" not in path else "application/json"}
    body = (PIECE for _ in range(40)) if in_pieces else PIECE * 40
    answer = browser.post(path, content=body, headers=headers)
    assert answer.status_code == 413
    assert "at most" in answer.text
