"""The registry of trained models and its gate: what is promoted is no worse where it matters, better overall, and what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.figures import Figures
from generation.registry import Entry, GateClosed, RegistryInvalid, State, folder_of, gate, promote, read_registry, register, roll_back
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


def test_a_version_that_is_in_service_stays_as_it_is_when_promoted_again_and_can_be_gone_back_to(tmp_path: Path) -> None:
    path, install = tmp_path / "registry.yaml", tmp_path / "served"
    register(entry(tmp_path, "one", GOOD, install=str(install)), path)
    for _ in range(2):
        assert promote("one", path).folder == str(install)
        assert (install / "model.safetensors").read_bytes() == b"one"
    (tmp_path / "one/model.safetensors").unlink()  # the files in service are the only ones left, as in a clone of the repository
    register(entry(tmp_path, "two", GOOD.model_copy(update={"acuity_right": 85}), install=str(install)), path)
    promote("two", path)
    assert (install / "model.safetensors").read_bytes() == b"two"
    assert (folder_of(read_registry(path).entry("one")) / "model.safetensors").read_bytes() == b"one"
    roll_back("one", path)
    assert (install / "model.safetensors").read_bytes() == b"one"
    assert {each.version: each.state for each in read_registry(path).models} == {"one": State.PROMOTED, "two": State.RETIRED}
    roll_back("two", path)
    assert (install / "model.safetensors").read_bytes() == b"two"


def test_the_promoted_version_trained_again_stays_promoted(tmp_path: Path) -> None:
    path, install = tmp_path / "registry.yaml", tmp_path / "served"
    made = entry(tmp_path, "one", GOOD, install=str(install))
    register(made, path)
    promote("one", path)
    register(made, path)
    served = read_registry(path).promoted("reference")
    assert served is not None
    assert served.folder == str(install)


def test_only_what_was_served_is_gone_back_to_without_the_gate(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    register(entry(tmp_path, "one", GOOD), path)
    with pytest.raises(RegistryInvalid, match="one is candidate; only a retired version"):
        roll_back("one", path)


def test_a_copy_that_fails_leaves_what_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, install = tmp_path / "registry.yaml", tmp_path / "served"
    register(entry(tmp_path, "one", GOOD, install=str(install)), path)
    promote("one", path)
    register(entry(tmp_path, "two", GOOD.model_copy(update={"acuity_right": 85}), install=str(install)), path)

    def full(source: Path, target: Path) -> None:
        target.mkdir()
        raise OSError("no space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(OSError, match="no space left"):
        promote("two", path)
    assert (install / "model.safetensors").read_bytes() == b"one"
    assert read_registry(path).promoted("reference") == read_registry(path).entry("one")


def test_the_first_of_a_name_is_compared_with_what_is_served_else_with_its_base(tmp_path: Path) -> None:
    path, worse = tmp_path / "registry.yaml", GOOD.model_copy(update={"emergencies_called": 10})
    register(entry(tmp_path, "tuned", worse, name="other", before=GOOD), path)
    with pytest.raises(GateClosed, match=r"compared with its base before training; emergencies called emergency: 50.0%, now 80\.0%"):
        promote("tuned", path)
    register(entry(tmp_path, "one", GOOD, state=State.PROMOTED), path)
    register(entry(tmp_path, "new", worse, name="another", before=worse.model_copy(update={"acuity_right": 1})), path)
    with pytest.raises(GateClosed, match=r"compared with one; emergencies called emergency: 50.0%, now 80.0%"):
        promote("new", path)


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
