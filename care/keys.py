"""The installation's secret keys: made once, kept in one file that only its owner reads."""

from __future__ import annotations

import base64
import json
import os
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretBytes, SecretStr, ValidationError, field_validator

from care.settings import Settings, settings


class KeysInvalid(Exception):
    """The key file is missing or damaged; the message says what to do."""


class Keys(BaseModel):
    """`field`, `index`, `session`, `audit` and `tracker` are 32 bytes each; the tokens open Rasa and vLLM. `retired` field keys still decrypt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: SecretBytes
    index: SecretBytes
    session: SecretBytes
    audit: SecretBytes
    tracker: SecretBytes
    rasa_token: SecretStr
    vllm_token: SecretStr
    retired: list[SecretBytes] = Field(default_factory=list)

    @field_validator("retired", mode="before")
    @classmethod
    def _all_decoded(cls, value: list[str]) -> list[bytes]:
        return [cls._decoded(each) for each in value]

    @field_validator("field", "index", "session", "audit", "tracker", mode="before")
    @classmethod
    def _decoded(cls, value: str) -> bytes:
        raw = base64.urlsafe_b64decode(value)
        if len(raw) != 32:
            raise ValueError("must be 32 bytes in urlsafe base64")
        return raw


def key_file(current: Settings) -> Path:
    """Where the keys lie."""
    return current.data_dir / "keys.json"


def ensure_keys(current: Settings) -> Keys:
    """Makes the key file where there is none (mode 0600), and reads it. Raises `KeysInvalid`."""
    path = key_file(current)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for name in ("field", "index", "session", "audit", "tracker")}
        fresh |= {"rasa_token": secrets.token_urlsafe(32), "vllm_token": secrets.token_urlsafe(32)}
        part = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            json.dump(fresh, out)
        try:
            os.link(part, path)  # fails where another process was first: its keys count
        except FileExistsError:
            pass
        finally:
            part.unlink()
    return read_keys(path)


def read_keys(path: Path) -> Keys:
    """The keys in `path`. Raises `KeysInvalid`."""
    try:
        return Keys.model_validate_json(path.read_text())
    except OSError as error:
        raise KeysInvalid(f"no key file at {path}: run `aftercare init`, or restore it from its backup") from error
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0]) for problem in error.errors() if problem["loc"]) or "its JSON"
        raise KeysInvalid(f"the key file {path} is damaged ({fields}): restore it from its backup") from None


def add_field_key(current: Settings) -> None:
    """Puts a new field key in place of the present one, which is kept to decrypt. Raises `KeysInvalid`."""
    read_keys(key_file(current))
    raw = json.loads(key_file(current).read_text())
    raw["retired"] = [raw["field"], *raw.get("retired", [])]
    raw["field"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    _replace(current, raw)


def drop_retired_keys(current: Settings) -> None:
    """Forgets the field keys that nothing is encrypted with any more."""
    raw = json.loads(key_file(current).read_text())
    raw.pop("retired", None)
    _replace(current, raw)


def _replace(current: Settings, raw: dict[str, Any]) -> None:
    """Writes the key file in one step: whatever happens, the old or the new one is there."""
    path = key_file(current)
    part = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
        json.dump(raw, out)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
    keys.cache_clear()


@cache
def keys() -> Keys:
    """The keys of this installation, read once."""
    return ensure_keys(settings())
