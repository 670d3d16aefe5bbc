"""Is everything there, and does it answer? Each finding comes with its remedy."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import distributions

import httpx
import redis
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aftercare.assembly import build_drafter
from aftercare.supervise.specs import ProcessSpec, specs
from care.keys import KeysInvalid, key_file, read_keys
from care.knowledge import KnowledgeInvalid, knowledge
from care.messages.twilio_client import api_url
from care.settings import ROOT, Settings, settings
from care.storage.engine import reading
from care.triage.model import DraftUnavailable
from generation.client import ServedInvalid, VllmDrafter

_MIN_FREE_GB = 5
_DRIFT_S = 30
_PIN = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is empty where it is well."""

    what: str
    found: str
    remedy: str = ""


def examine(console: Console) -> bool:
    """Prints every finding; true where all is well."""
    well = True
    for finding in _findings(settings()):
        mark = "problem" if finding.remedy else "ok"
        console.print(f"{mark:8} {finding.what}: {finding.found}" + (f" -> {finding.remedy}" if finding.remedy else ""), markup=False, soft_wrap=True)
        well = well and not finding.remedy
    return well


def list_settings(console: Console) -> None:
    """Prints every setting with its default and meaning."""
    for name, field in Settings.model_fields.items():
        console.print(f"AFTERCARE_{name.upper():28} {field.description} [{field.default!s}]", markup=False, soft_wrap=True)


def _findings(current: Settings) -> Iterator[Finding]:
    for name in ("app", "nlu", "rasa", "vllm"):
        yield _environment(current, name)
    free = shutil.disk_usage(current.home if current.home.exists() else ROOT).free / 1e9
    yield Finding("disk", f"{free:.0f} GB free", "" if free > _MIN_FREE_GB else f"free at least {_MIN_FREE_GB} GB")
    try:
        yield Finding("knowledge", f"version {knowledge().version}")
    except KnowledgeInvalid as error:
        yield Finding("knowledge", "broken", str(error))
    for what, path, remedy in (
        ("encoder", ROOT / "nlu/weights/weights.safetensors", "aftercare train nlu"),
        ("generator", ROOT / "generation/weights/model.safetensors", "aftercare train generator"),
    ):
        yield Finding(what, "there" if path.exists() else "missing", "" if path.exists() else f"run `{remedy}`")
    try:
        read_keys(key_file(current))
    except KeysInvalid as error:
        yield Finding("keys", "not usable, so nothing else was looked at", str(error))
        return
    yield Finding("keys", "there")
    yield _database()
    yield Finding("on call", "called outside the console" if current.alert_url else "nobody is called outside the console (AFTERCARE_ALERT_URL is empty)")
    if current.redis_url:
        yield eviction(current)
    yield _clock(current)
    for spec in specs(current):
        yield _process(spec)
    yield served_model(build_drafter(current))


def served_model(drafter: VllmDrafter) -> Finding:
    """Whether vLLM is of a version that was tried and serves the model that is configured."""
    try:
        drafter.check_served()
    except ServedInvalid as error:
        return Finding("served model", "not as configured", str(error))
    except DraftUnavailable as error:
        return Finding("served model", f"cannot be asked for: {error.reason}", "start it with `aftercare up`; check AFTERCARE_VLLM_URL")
    return Finding("served model", drafter.model)


def _environment(current: Settings, name: str) -> Finding:
    """Whether the environment holds exactly what its lock names."""
    places = list((current.home / "envs" / name / "lib").glob("python3.*/site-packages"))
    if not places:
        return Finding(f"environment {name}", "missing", "run `make envs`")
    pins = _PIN.findall((ROOT / "deploy/requirements" / f"{name}.txt").read_text())
    installed = {_plain(each.name): each.version for each in distributions(path=[str(place) for place in places])}
    unlike = sorted(package for package, version in pins if installed.get(_plain(package), "").partition("+")[0] != version.partition("+")[0])
    if unlike:
        return Finding(f"environment {name}", f"{len(unlike)} of {len(pins)} packages are not at the lock's version, {unlike[0]} first", "run `make envs`")
    return Finding(f"environment {name}", f"{places[0].parent.name}, {len(pins)} packages at the lock's versions")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _database() -> Finding:
    try:
        with reading() as session:
            session.execute(text("SELECT count(*) FROM patients"))
    except SQLAlchemyError as error:
        return Finding("database", f"does not answer ({type(error).__name__})", "run `aftercare init`; check AFTERCARE_DATABASE_URL")
    return Finding("database", "answers")


def eviction(current: Settings) -> Finding:
    """Whether the Redis that we are given drops keys when its memory is full: bells and leases would vanish without a word."""
    try:
        policy = str(redis.Redis.from_url(current.redis, socket_timeout=2, decode_responses=True).config_get("maxmemory-policy").get("maxmemory-policy", ""))
    except redis.ResponseError:
        return Finding("redis memory", "the policy cannot be read; make sure that it is noeviction")
    except redis.RedisError as error:
        return Finding("redis memory", f"does not answer ({type(error).__name__})", "start it; check AFTERCARE_REDIS_URL")
    well = policy == "noeviction"
    return Finding("redis memory", f"policy {policy}", "" if well else "set maxmemory-policy noeviction, and keep caches in another Redis")


def _clock(current: Settings) -> Finding:
    """This machine's clock against those of Redis and Twilio, which order and date what we compare."""
    here = datetime.now(UTC)
    drifts = {name: abs((there - here).total_seconds()) for name, there in _other_clocks(current)}
    far = [f"{name} by {drift:.0f} s" for name, drift in drifts.items() if drift > _DRIFT_S]
    compared = f"like that of {' and '.join(drifts)}" if drifts else "nothing to compare it with answers"
    found = f"unlike that of {' and '.join(far)}" if far else compared
    return Finding("clock", f"speed {current.clock_speed:g}, {found}", "set this machine's clock (NTP)" if far else "")


def _other_clocks(current: Settings) -> Iterator[tuple[str, datetime]]:
    try:
        seconds, micros = redis.Redis.from_url(current.redis, socket_timeout=1).time()
        yield "Redis", datetime.fromtimestamp(seconds + micros / 1e6, UTC)
    except redis.RedisError:
        pass
    try:
        dated = httpx.get(api_url(current), timeout=2).headers.get("date")
        if dated:
            yield "Twilio", parsedate_to_datetime(dated)
    except (httpx.HTTPError, ValueError):
        pass


def _process(spec: ProcessSpec) -> Finding:
    if spec.ready():
        return Finding(spec.name, "answers")
    if spec.port is not None and _taken(spec.port):
        held = f"port {spec.port} is held by something that does not answer as it should"
        return Finding(spec.name, held, f"stop that program, or set AFTERCARE_{spec.name.upper()}_PORT")
    return Finding(spec.name, "does not answer", f"start it with `aftercare up`; its log is logs/{spec.name}.log under the home folder")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
