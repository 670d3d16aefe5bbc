"""Whether a webhook is Twilio's: the signature over the configured public URL and every parameter."""

from __future__ import annotations

from urllib.parse import parse_qs, urlparse, urlsplit

from starlette.datastructures import FormData
from twilio.request_validator import RequestValidator, add_port, compare, remove_port

from care.settings import Settings


class SignatureInvalid(Exception):
    """The request is not signed by our account, or not in a form that can be."""


def check_signature(
    public_url: str,
    path_and_query: str,
    params: list[tuple[str, str]] | None,
    body: bytes,
    signature: str | None,
    tokens: list[str],
) -> None:
    """Passes a genuine request and raises `SignatureInvalid` for any other.

    `public_url` is configured, never taken from the request's own headers. `params` are the form's fields with blanks kept, or None for a JSON body, which must
    carry its own hash in the query (`bodySHA256`).
    """
    if not signature or not signature.isascii():
        raise SignatureInvalid("no signature")
    url = public_url + path_and_query
    if params is None:
        wanted = parse_qs(urlsplit(url).query).get("bodySHA256", [])
        if len(wanted) != 1 or not _body_matches(body, wanted[0]):
            raise SignatureInvalid("a JSON body must match the bodySHA256 of its URL")
        fields = FormData()
    else:
        fields = FormData([*params])
    if not any(_signed(token, url, fields, signature) for token in tokens):
        raise SignatureInvalid("the signature does not match")


def tokens_of(settings: Settings, account_token: str) -> list[str]:
    """The auth tokens that count now: the account's, and the secondary one while it is rotated."""
    second = settings.twilio_secondary_auth_token.get_secret_value()
    return [account_token, second] if second else [account_token]


def _body_matches(body: bytes, wanted: str) -> bool:
    try:
        computed = RequestValidator.compute_hash(None, body.decode("utf-8"))
    except UnicodeDecodeError:
        return False
    return bool(compare(computed, wanted))


def _signed(token: str, url: str, fields: FormData, signature: str) -> bool:
    validator = RequestValidator(token)
    try:
        if compare(validator.compute_signature(url, fields), signature):
            return True
        parts = urlparse(url)
        # Twilio signs with or without the port, by scheme: both are genuine.
        return any(compare(validator.compute_signature(form, fields), signature) for form in (add_port(parts), remove_port(parts)))
    except UnicodeEncodeError:
        return False
