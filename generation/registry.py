"""The registry: which trained models there are, with their hashes and figures, and which of them is promoted (a readable file, kept with the code)."""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from generation.figures import Figures
from generation.served import ServeInvalid, weights_hash

REGISTRY = Path(__file__).with_name("registry.yaml")
_ROOT = Path(__file__).resolve().parent.parent
MODELS = Path(os.environ.get("AFTERCARE_HOME", _ROOT / "var")) / "models"
"""Where the files of each version lie under its name, also of those that were served before."""
_OVERALL = ("acuity right", "emergencies called emergency", "in the schema", "findings: recall", "advice: precision", "advice: recall")
"""What "better overall" is the mean of."""


class State(StrEnum):
    """What may be done with a version: only the promoted one of its name is served."""

    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    RETIRED = "retired"


class RegistryInvalid(Exception):
    """The registry or an entry of it cannot be used; the message says what to correct."""


class GateClosed(Exception):
    """A candidate is not better than what is promoted; `reasons` are sentences."""

    def __init__(self, version: str, reasons: list[str]) -> None:
        super().__init__(f"{version} is not promoted: " + "; ".join(reasons))
        self.reasons = reasons


class Entry(BaseModel):
    """One trained version. `weights` is the hash that vLLM's answers carry; `folder` is relative to the repository where it lies inside.

    `measured_on` is a hash of the messages that it was measured on: figures on others cannot be compared.
    `install` is where its files are copied to when it is promoted; without it they stay where they are.
    """

    model_config = ConfigDict(extra="forbid")
    version: str
    name: str
    recipe: str
    base: str | None = None
    folder: str
    install: str | None = None
    weights: str
    prompt: str
    trained: str
    parameters: int
    steps: int
    state: State
    measured_on: str
    figures: Figures
    before: Figures | None = None


class Registry(BaseModel):
    """Every version, the newest last."""

    model_config = ConfigDict(extra="forbid")
    models: list[Entry] = []

    def promoted(self, name: str) -> Entry | None:
        """The version of `name` that is served; None where none was promoted yet."""
        return next((entry for entry in self.models if entry.name == name and entry.state is State.PROMOTED), None)

    def entry(self, version: str) -> Entry:
        """The entry of `version`. Raises `RegistryInvalid`."""
        for entry in self.models:
            if entry.version == version:
                return entry
        raise RegistryInvalid(f"the registry has no {version!r}; it has {', '.join(entry.version for entry in self.models) or 'none'}")


def read_registry(path: Path = REGISTRY) -> Registry:
    """The registry; empty where there is no file yet. Raises `RegistryInvalid`."""
    if not path.exists():
        return Registry()
    try:
        return Registry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError) as error:
        raise RegistryInvalid(f"{path}: not readable ({error})") from error
    except ValidationError as error:
        problem = error.errors()[0]
        raise RegistryInvalid(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def write_registry(registry: Registry, path: Path = REGISTRY) -> None:
    """Writes the registry whole, or not at all."""
    told = "# Trained models and their figures on the test voices. Written by `aftercare train generator`; `--promote VERSION` moves one through the gate.\n"
    fresh = path.with_suffix(".new")
    fresh.write_text(told + yaml.safe_dump(registry.model_dump(mode="json", exclude_none=True), sort_keys=False, width=150), encoding="utf-8")
    fresh.replace(path)


def register(entry: Entry, path: Path = REGISTRY) -> None:
    """Adds a candidate, in place of one of the same version: made again with the very same weights, what is or was served stays so."""
    registry = read_registry(path)
    known = next((each for each in registry.models if each.version == entry.version), entry)
    if known.state is not State.CANDIDATE:
        entry = entry.model_copy(update={"state": known.state, "folder": known.folder})
    registry.models = [*(each for each in registry.models if each.version != entry.version), entry]
    write_registry(registry, path)


def gate(candidate: Figures, current: Figures) -> list[str]:
    """Why the candidate may not replace the current model; empty where it may.

    Emergency sensitivity and the guard's pass rate must not be worse, and the mean of the overall figures must be better.
    """
    new, old = candidate.shares(), current.shares()
    reasons = [
        f"{name}: {_percent(new[name])}, now {_percent(old[name])}"
        for name in ("emergencies called emergency", "replies that pass the guard")
        if (new[name] or 0.0) < (old[name] or 0.0)
    ]
    if overall(candidate) <= overall(current):
        reasons.append(f"overall {overall(candidate):.3f}, now {overall(current):.3f}: it must be better")
    return reasons


def overall(figures: Figures) -> float:
    """The mean of the figures that "better overall" is judged by."""
    shares = figures.shares()
    return sum(shares[name] or 0.0 for name in _OVERALL) / len(_OVERALL)


def promote(version: str, path: Path = REGISTRY) -> Entry:
    """Promotes a candidate through the gate; the one before it is retired and its files are kept. A promoted one stays as it is.

    Raises `GateClosed` and `RegistryInvalid`.
    """
    registry = read_registry(path)
    candidate = registry.entry(version)
    if candidate.state is State.PROMOTED:
        return candidate
    _check_files(candidate)
    if reasons := _reasons_against(candidate, registry):
        raise GateClosed(version, reasons)
    return _put_in_service(candidate, registry, path)


def roll_back(version: str, path: Path = REGISTRY) -> Entry:
    """Puts a retired version back in service, which has been through the gate before. Raises `RegistryInvalid`."""
    registry = read_registry(path)
    former = registry.entry(version)
    if former.state is not State.RETIRED:
        raise RegistryInvalid(f"{version} is {former.state}; only a retired version can be gone back to, a candidate goes through --promote")
    _check_files(former)
    return _put_in_service(former, registry, path)


def _check_files(entry: Entry) -> None:
    """Raises `RegistryInvalid` where the entry's files are not those that were measured."""
    try:
        found = weights_hash(folder_of(entry))
    except ServeInvalid as error:
        raise RegistryInvalid(f"{entry.version}: {error}") from error
    if found != entry.weights:
        raise RegistryInvalid(f"{entry.version}: the weights in {entry.folder} are {found}, not {entry.weights}; they were changed after they were measured")


def _reasons_against(candidate: Entry, registry: Registry) -> list[str]:
    """Why the gate stays closed for the candidate: against what is promoted of its name, else of any name, else against its base."""
    current = registry.promoted(candidate.name)
    rivals = [current] if current is not None else [entry for entry in registry.models if entry.state is State.PROMOTED]
    for rival in rivals:
        if rival.measured_on != candidate.measured_on:
            return [f"it was measured on other messages than {rival.version}; measure both again with --measure VERSION"]
        if reasons := gate(candidate.figures, rival.figures):
            return [f"compared with {rival.version}", *reasons]
    if not rivals and candidate.before is not None and (reasons := gate(candidate.figures, candidate.before)):
        return ["compared with its base before training", *reasons]
    return []


def _put_in_service(chosen: Entry, registry: Registry, path: Path) -> Entry:
    """Retires what is served of the entry's name or in its place, installs the entry's files, and writes the registry."""
    for entry in registry.models:
        if entry.state is State.PROMOTED and (entry.name == chosen.name or entry.folder == chosen.install):
            _keep(entry)
            entry.state = State.RETIRED
    if chosen.install is not None and folder_of(chosen) != _ROOT / chosen.install:
        _copy(folder_of(chosen), _ROOT / chosen.install)
        chosen.folder = chosen.install
    chosen.state = State.PROMOTED
    write_registry(registry, path)
    return chosen


def _keep(entry: Entry) -> None:
    """Copies the files of an installed entry to where another one's do not overwrite them, unless they lie there already."""
    if entry.folder != entry.install:
        return
    kept = MODELS / entry.version
    if not _holds(kept, entry) and _holds(folder_of(entry), entry):
        _copy(folder_of(entry), kept)
    entry.folder = relative(kept)


def _holds(folder: Path, entry: Entry) -> bool:
    try:
        return weights_hash(folder) == entry.weights
    except ServeInvalid:
        return False


def _copy(source: Path, target: Path) -> None:
    """Copies a folder beside its place and swaps it in: a copy that fails leaves what was there."""
    fresh, old = (target.with_name(f".{target.name}.{name}") for name in ("new", "old"))
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(source, fresh)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def folder_of(entry: Entry) -> Path:
    """Where the entry's files are."""
    return _ROOT / entry.folder


def relative(folder: Path) -> str:
    """`folder` as an entry writes it."""
    whole = folder.resolve()
    return os.fspath(whole.relative_to(_ROOT)) if whole.is_relative_to(_ROOT) else os.fspath(whole)


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
