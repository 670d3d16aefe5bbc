"""What patients say and who they are is encrypted in the database; numbers are found through a keyed hash."""

from __future__ import annotations

import hmac
import json
import secrets
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from care.keys import keys

_VERSION = b"\x01"
_NONCE_BYTES = 12


class FieldUndecryptable(Exception):
    """A stored field does not decrypt with this installation's key, or was moved from another column."""


def encrypt(value: str, place: str) -> bytes:
    """AES-256-GCM under the field key, bound to `place` ("table.column")."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = value.encode("utf-8", "surrogatepass")
    return _VERSION + nonce + AESGCM(keys().field.get_secret_value()).encrypt(nonce, plain, place.encode())


def decrypt(stored: bytes, place: str) -> str:
    """The value of `encrypt`. Raises `FieldUndecryptable`."""
    nonce, sealed = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
    for key in (keys().field, *keys().retired):
        try:
            return AESGCM(key.get_secret_value()).decrypt(nonce, sealed, place.encode()).decode("utf-8", "surrogatepass")
        except InvalidTag:
            continue
    raise FieldUndecryptable(f"{place}: does not decrypt; was keys.json replaced?")


def blind_index(value: str) -> str:
    """A keyed hash (HMAC-SHA-256, hex) by which an encrypted value is found again."""
    return hmac.new(keys().index.get_secret_value(), value.encode(), sha256).hexdigest()


class Encrypted(TypeDecorator[str]):
    """A text column that is ciphertext in the database."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Encrypts on the way in."""
        return None if value is None else encrypt(value, self.place)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Decrypts on the way out."""
        return None if value is None else decrypt(value, self.place)


class EncryptedJson(TypeDecorator[Any]):
    """A JSON column that is ciphertext in the database."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """Encrypts on the way in."""
        return None if value is None else encrypt(json.dumps(value, separators=(",", ":")), self.place)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        """Decrypts on the way out."""
        return None if value is None else json.loads(decrypt(value, self.place))
