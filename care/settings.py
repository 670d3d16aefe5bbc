"""Every setting of Aftercare: an `AFTERCARE_*` variable each, read once per process."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class SettingsInvalid(Exception):
    """A setting is missing or malformed; the message names the variable and the remedy."""


class Settings(BaseSettings):
    """Each field is the variable `AFTERCARE_<NAME>`; the description is its documentation (`aftercare doctor --settings`)."""

    model_config = SettingsConfigDict(env_prefix="AFTERCARE_", frozen=True, extra="ignore")

    home: Path = Field(ROOT / "var", description="Folder for environments, data, keys, models and logs.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite under the home folder.")
    redis_url: str = Field("", description="Redis URL; empty: a Valkey child process on the redis port.")
    public_url: str = Field("", description="The URL at which Twilio and patients reach us; empty: the web port on 127.0.0.1.")
    chat_origins: str = Field("", description="Other pages that may embed the chat, comma-separated: scheme://host[:port] each.")
    host: str = Field("127.0.0.1", description="Address the web process listens on.")
    web_port: int = Field(8080, ge=1, le=65535, description="Port of web chat, webhooks, console and API.")
    nlu_port: int = Field(8081, ge=1, le=65535, description="Port of the nlu service.")
    actions_port: int = Field(8082, ge=1, le=65535, description="Port of the Rasa action server.")
    rasa_port: int = Field(8083, ge=1, le=65535, description="Port of the Rasa server.")
    vllm_port: int = Field(8084, ge=1, le=65535, description="Port of the vLLM server.")
    redis_port: int = Field(8085, ge=1, le=65535, description="Port of the embedded Valkey.")
    emulator_port: int = Field(8086, ge=1, le=65535, description="Port of the Twilio emulator.")
    nlu_url: str = Field("", description="The nlu service; empty: its port on 127.0.0.1.")
    actions_url: str = Field("", description="The action server; empty: its port on 127.0.0.1.")
    rasa_url: str = Field("", description="The Rasa server; empty: its port on 127.0.0.1.")
    vllm_url: str = Field("", description="An OpenAI-compatible vLLM server; empty: our own on its port.")
    vllm_model: str = Field("", description="Model served under `vllm_url`; empty: the reference model.")
    twilio_account_sid: str = Field("", description="Twilio account; empty: the emulator's demo account.")
    twilio_auth_token: SecretStr = Field(SecretStr(""), description="Twilio auth token; with an account set it is required.")
    twilio_secondary_auth_token: SecretStr = Field(SecretStr(""), description="Second valid token while the first is rotated.")
    twilio_numbers: str = Field("+15550100000", description="Our numbers in E.164, comma-separated; each patient keeps one.")
    twilio_messaging_service_sid: str = Field("", pattern="^(MG[0-9a-f]{32})?$", description="Messaging service that picks the sender; empty: our numbers.")
    twilio_api_url: str = Field("", description="Where Twilio's REST API is; empty with an account set: Twilio; else the emulator.")
    clock_speed: float = Field(1.0, gt=0, le=100_000, description="How many seconds pass for the service in one real second (demo).")
    clinic_name: str = Field("Riverside Care Team", description="How messages name the sender.")
    clinic_phone: str = Field("555-010-0199", description="The number patients are told to call.")
    site_timezone: str = Field("America/New_York", description="IANA time zone of patients whose own is not given.")
    sms_per_second: float = Field(10.0, gt=0, le=10_000, description="How many patients the campaigns write to in a second, with each of our numbers.")
    sms_segments_per_second: float = Field(
        10.0, gt=0, le=10_000, description="How many segments each of our numbers sends in a second, as Twilio passes them on; warnings go ahead of it."
    )
    sms_carrier_per_second: dict[str, float] = Field({}, description='The same to all phones of a carrier, as JSON: {"att": 1.25, "tmobile": 10}.')
    sms_segment_price: float = Field(0.0113, ge=0, description="Price of one SMS segment, carrier fees included, for previews; US dollars.")
    emergency_number: str = Field("911", description="The local emergency number.")
    reply_deadline_s: float = Field(8.0, gt=0, le=60, description="Seconds an engine may take in a turn before the safe reply goes out.")
    web_processes: int = Field(max(1, min(4, (os.cpu_count() or 1) // 2)), ge=1, le=64, description="Web processes that `aftercare up` starts, on one port.")
    worker_processes: int = Field(2, ge=1, le=1024, description="Celery processes for turns, on all machines together; `aftercare up` starts so many.")
    sender_processes: int = Field(2, ge=1, le=64, description="Celery processes that send and keep the clocks, which `aftercare up` starts.")
    alert_url: str = Field("", pattern="^(https?://.*)?$", description="Called by POST while an emergency waits for a person or an urgent case is overdue.")
    alert_every_minutes: float = Field(5.0, gt=0, le=60, description="How often it is called again until somebody takes the case.")
    demo: bool = Field(False, description="Demo mode: demo users and their passwords are shown.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("twilio_numbers")
    @classmethod
    def _numbers_in_e164(cls, value: str) -> str:
        for number in value.split(","):
            if not (number.startswith("+") and number[1:].isdigit() and 8 <= len(number) <= 16):
                raise ValueError(f"{number!r} is not in E.164 (like +15551234567)")
        return value

    @field_validator("sms_carrier_per_second")
    @classmethod
    def _paces(cls, value: dict[str, float]) -> dict[str, float]:
        if slow := [carrier for carrier, pace in value.items() if not 0.01 <= pace <= 10_000]:
            raise ValueError(f"{', '.join(slow)}: a pace lies from 0.01 to 10000 a second")
        return value

    @field_validator("site_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("not an IANA time zone; write it like America/Chicago") from error
        return value

    @field_validator("chat_origins")
    @classmethod
    def _plain_origins(cls, value: str) -> str:
        for origin in filter(None, (part.strip() for part in value.split(","))):
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
                raise ValueError(f"{origin!r} is not scheme://host[:port]")
        return value

    @field_validator("public_url", "nlu_url", "actions_url", "rasa_url", "vllm_url", "twilio_api_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        if value:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
                raise ValueError("must be http(s)://host[:port][/path] without a user name")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _token_with_account(self) -> Self:
        if self.twilio_account_sid and not self.twilio_auth_token.get_secret_value():
            raise ValueError("AFTERCARE_TWILIO_AUTH_TOKEN is required when AFTERCARE_TWILIO_ACCOUNT_SID is set")
        return self

    @property
    def data_dir(self) -> Path:
        """Where databases and keys lie."""
        return self.home / "data"

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'aftercare.db'}"

    @property
    def redis(self) -> str:
        """The Redis URL in force."""
        return self.redis_url or f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def public(self) -> str:
        """The public URL in force, without a trailing slash."""
        return self.public_url or f"http://127.0.0.1:{self.web_port}"

    @property
    def embedding_origins(self) -> list[str]:
        """The origins from which the chat may be used beside its own."""
        return [origin.strip() for origin in self.chat_origins.split(",") if origin.strip()]

    @property
    def nlu(self) -> str:
        """The nlu service's URL in force."""
        return self.nlu_url or f"http://127.0.0.1:{self.nlu_port}"

    @property
    def actions(self) -> str:
        """The action server's URL in force."""
        return self.actions_url or f"http://127.0.0.1:{self.actions_port}"

    @property
    def rasa(self) -> str:
        """The Rasa server's URL in force."""
        return self.rasa_url or f"http://127.0.0.1:{self.rasa_port}"

    @property
    def vllm(self) -> str:
        """The vLLM server's URL in force."""
        return self.vllm_url or f"http://127.0.0.1:{self.vllm_port}"

    @property
    def emulated_twilio(self) -> bool:
        """Whether the Twilio emulator stands for Twilio."""
        return not self.twilio_account_sid

    @property
    def our_numbers(self) -> list[str]:
        """Our SMS numbers."""
        return self.twilio_numbers.split(",")


@cache
def settings() -> Settings:
    """The settings of this process, read once. Raises `SettingsInvalid` naming every wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsInvalid(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = "AFTERCARE_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else "settings"
        shown = "" if not problem["loc"] or "TOKEN" in name else f" (got {os.environ.get(name, '')!r})"
        lines.append(f"{name}: {problem['msg']}{shown}")
    return "; ".join(lines)
