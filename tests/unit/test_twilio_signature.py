"""A webhook is believed only when Twilio signed it."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from twilio.request_validator import RequestValidator

from tests.conftest import EVAL
from web.twilio_signature import SignatureInvalid, check_signature

URL, PATH, TOKEN = "https://care.example", "/sms/inbound", "secret"
PARAMS = [("From", "+15550100001"), ("Body", " hello "), ("FromState", "")]


def _sign(params: list[tuple[str, str]], url: str = URL + PATH, token: str = TOKEN) -> str:
    return str(RequestValidator(token).compute_signature(url, dict(params)))


@pytest.mark.skipif(not (EVAL / "twilio-signature-vectors.jsonl").exists(), reason="the evaluation folder is not here")
def test_the_published_vectors_are_told_apart() -> None:
    for row in map(json.loads, (EVAL / "twilio-signature-vectors.jsonl").read_text().splitlines()):
        parts = urlsplit(row["url_received"])
        base = f"{parts.scheme}://{parts.netloc}"
        params = None if row["body"] else [(name, value) for name, value in row["params"]]
        try:
            check_signature(base, row["url_received"][len(base) :], params, (row["body"] or "").encode(), row["signature"], [row["auth_token"]])
            said = "valid"
        except SignatureInvalid:
            said = "invalid"
        assert said == row["label"], row["id"]


def test_blank_fields_and_spaces_are_part_of_what_is_signed() -> None:
    check_signature(URL, PATH, PARAMS, b"", _sign(PARAMS), [TOKEN])
    with pytest.raises(SignatureInvalid):
        check_signature(URL, PATH, [(name, value.strip()) for name, value in PARAMS], b"", _sign(PARAMS), [TOKEN])


def test_during_a_rotation_both_tokens_count() -> None:
    check_signature(URL, PATH, PARAMS, b"", _sign(PARAMS, token="new"), [TOKEN, "new"])


@pytest.mark.parametrize("signature", [None, "", "x", "sïgnature", "\ud800"])
def test_a_missing_or_odd_signature_is_refused(signature: str | None) -> None:
    with pytest.raises(SignatureInvalid):
        check_signature(URL, PATH, PARAMS, b"", signature, [TOKEN])


@pytest.mark.parametrize("path", ["/sms/inbound/", "/sms/inbound?x=1", "/sms%2Finbound"])
def test_another_address_is_refused(path: str) -> None:
    with pytest.raises(SignatureInvalid):
        check_signature(URL, path, PARAMS, b"", _sign(PARAMS), [TOKEN])


def test_a_json_body_without_its_hash_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        check_signature(URL, PATH, None, b'{"a": 1}', _sign([]), [TOKEN])


def test_a_lone_surrogate_does_not_break_the_check() -> None:
    with pytest.raises(SignatureInvalid):
        check_signature(URL, PATH, [("Body", "\ud800")], b"", "c2lnbmF0dXJl", [TOKEN])
