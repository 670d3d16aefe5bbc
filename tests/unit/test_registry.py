"""The registry of trained models and its gate: what is promoted is no worse where it matters, better overall, and what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.figures import Figures
from generation.registry import Entry, GateClosed, RegistryInvalid, State, gate, promote, read_registry, register
from generation.served import weights_hash

GOOD = Figures(
    messages=100, in_schema=100, acuity_right=80, emergencies=20, emergencies_called=16, findings_said=50, findings_wanted=50, findings_right=40,
    advice_said=20, advice_wanted=20, advice_right=10, guarded=10, guard_passed=9,
)  # fmt: skip


def entry(folder: Path, version: str, figures: Figures, **changes: object) -> Entry:
    made = folder / version
    made.mkdir()
    (made / "model.safetensors").write_bytes(version.encode())
    known = {
        "version": version, "name": "reference", "recipe": "r.yaml", "base": None, "folder": str(made), "weights": weights_hash(made), "prompt": "2",
        "trained": "2026-11-28", "parameters": 1, "steps": 1, "state": State.CANDIDATE, "measured_on": "same", "figures": figures,
    }  # fmt: skip
    return Entry.model_validate(known | changes)


def test_a_better_candidate_takes_the_place_of_the_promoted_one(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    register(entry(tmp_path, "one", GOOD), path)
    promote("one", path)
    register(entry(tmp_path, "two", GOOD.model_copy(update={"acuity_right": 85})), path)
    promote("two", path)
    assert {each.version: each.state for each in read_registry(path).models} == {"one": State.RETIRED, "two": State.PROMOTED}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"emergencies_called": 15, "acuity_right": 95}, "emergencies called emergency: 75.0%, now 80.0%"),
        ({"guard_passed": 8, "acuity_right": 95}, "replies that pass the guard: 80.0%, now 90.0%"),
        ({}, "it must be better"),
    ],
)
def test_the_gate_stays_closed_where_a_candidate_is_worse_or_no_better(tmp_path: Path, changes: dict[str, int], said: str) -> None:
    path = tmp_path / "registry.yaml"
    register(entry(tmp_path, "one", GOOD, state=State.PROMOTED), path)
    register(entry(tmp_path, "two", GOOD.model_copy(update=changes)), path)
    with pytest.raises(GateClosed, match=said):
        promote("two", path)
    assert read_registry(path).promoted("reference") == read_registry(path).entry("one")
    assert gate(GOOD.model_copy(update=changes), GOOD)


def test_figures_on_other_messages_are_not_compared(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    register(entry(tmp_path, "one", GOOD, state=State.PROMOTED), path)
    register(entry(tmp_path, "two", GOOD.model_copy(update={"acuity_right": 99}), measured_on="others"), path)
    with pytest.raises(GateClosed, match="measure both again with --measure"):
        promote("two", path)


def test_weights_changed_after_they_were_measured_are_not_promoted(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    register(entry(tmp_path, "one", GOOD), path)
    (tmp_path / "one/model.safetensors").write_bytes(b"other")
    with pytest.raises(RegistryInvalid, match="changed after they were measured"):
        promote("one", path)
    with pytest.raises(RegistryInvalid, match="the registry has no 'three'; it has one"):
        promote("three", path)
