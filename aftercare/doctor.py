"""Is everything there, and does it answer? Each finding comes with its remedy."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from aftercare.supervise.specs import specs
from care.keys import KeysInvalid, key_file, read_keys
from care.knowledge import KnowledgeInvalid, knowledge
from care.settings import ROOT, Settings, settings

_MIN_FREE_GB = 5


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is empty where it is well."""

    what: str
    found: str
    remedy: str = ""


def examine(console: Console) -> bool:
    """Prints every finding; true where all is well."""
    current = settings()
    well = True
    for finding in [*_files(current), *_engines(current)]:
        mark = "problem" if finding.remedy else "ok"
        console.print(f"{mark:8} {finding.what}: {finding.found}" + (f" -> {finding.remedy}" if finding.remedy else ""), markup=False, soft_wrap=True)
        well = well and not finding.remedy
    return well


def list_settings(console: Console) -> None:
    """Prints every setting with its default and meaning."""
    for name, field in Settings.model_fields.items():
        console.print(f"AFTERCARE_{name.upper():28} {field.description} [{field.default!s}]", markup=False, soft_wrap=True)


def _files(current: Settings) -> Iterator[Finding]:
    for name in ("app", "nlu", "rasa", "vllm"):
        python = current.home / "envs" / name / "bin/python"
        yield Finding(f"environment {name}", "there" if python.exists() else "missing", "" if python.exists() else "run `make envs`")
    free = shutil.disk_usage(current.home if current.home.exists() else ROOT).free / 1e9
    yield Finding("disk", f"{free:.0f} GB free", "" if free > _MIN_FREE_GB else f"free at least {_MIN_FREE_GB} GB")
    try:
        read_keys(key_file(current))
        yield Finding("keys", "there")
    except KeysInvalid as error:
        yield Finding("keys", "not usable", str(error))
    try:
        yield Finding("knowledge", f"version {knowledge().version}")
    except KnowledgeInvalid as error:
        yield Finding("knowledge", "broken", str(error))
    for what, path, remedy in (
        ("encoder", ROOT / "nlu/weights/weights.safetensors", "aftercare train nlu"),
        ("generator", ROOT / "generation/weights/model.safetensors", "aftercare train generator"),
    ):
        yield Finding(what, "there" if path.exists() else "missing", "" if path.exists() else f"run `{remedy}`")
    drift = abs(time.time() - datetime.now(UTC).timestamp())
    yield Finding("clock", f"speed {current.clock_speed:g}", "" if drift < 1 else "set the machine's clock")


def _engines(current: Settings) -> Iterator[Finding]:
    for spec in specs(current):
        ready = spec.ready()
        remedy = "" if ready else f"start it with `aftercare up`; its log is logs/{spec.name}.log under the home folder"
        yield Finding(spec.name, "answers" if ready else "does not answer", remedy)
