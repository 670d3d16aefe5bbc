"""What is taken out of a text before anything is trained on it, and what is kept. Skipped where the train environment is not built."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from care.settings import ROOT
from tests.conftest import EVAL

PYTHON = ROOT / "var" / "envs" / "train" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the train environment is not built: make dev")
NAMING = [
    "This is Bartholomew Quist, please call me on 617-555-0142 about my knee.",
    "My wife Oluwaseun lives at 41 Larkspur Lane, Eau Claire 54701.",
    "born 03/14/1951, card 4111 1111 1111 1111, mail b.quist@example.org",
]
KEPT = [
    "pressure 198 110, temp 101.4, pain 7 out of 10 for three days",
    "Pus coming out of the wound and it STINKS. No fever though.",
    "took my Eliquis and two Tylenol, walked 3000 steps, knee is swollen",
    "i cant breathe lying flat and my ankles are puffy since last night",
]


def run(script: str) -> str:
    return subprocess.run([str(PYTHON), "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout


def test_what_names_a_person_goes_and_what_a_report_needs_stays() -> None:
    texts = NAMING + KEPT
    said = json.loads(run(f"import json; from generation.deidentify import deidentifier as d; print(json.dumps([d().clean(t) for t in {texts!r}]))"))
    for left in ("Bartholomew", "Quist", "0142", "Oluwaseun", "Larkspur", "Claire", "54701", "1951", "4111", "example.org", "41"):
        assert left not in " ".join(said[: len(NAMING)])
    assert said[len(NAMING) :] == KEPT


def test_the_reference_recipe_takes_names_out_of_a_file_that_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "reports.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"{NAMING[0]} It itches {at} times an hour.", "acuity": "routine", "patient": f"p{at}"}) for at in range(10)))
    given = f"read_recipe(RECIPES / 'reference.yaml').data.model_copy(update={{'voices': False, 'rules': False, 'graph': 0, 'jsonl': Path({str(file)!r})}})"
    gathered = run(
        "import json; from pathlib import Path; from generation.recipe import RECIPES, read_recipe; from generation.train import gather\n"
        f"corpus = gather(read_recipe(RECIPES / 'reference.yaml').model_copy(update={{'data': {given}}}))\n"
        "print(json.dumps([each.text for split in (corpus.train, corpus.validation, corpus.test) for each in split]))"
    )
    texts = json.loads(gathered)
    assert len(texts) == 10
    assert all("knee" in text and not {"Bartholomew", "Quist", "0142"} & set(re.findall(r"\w+", text)) for text in texts)


@pytest.mark.slow
@pytest.mark.skipif(not EVAL.exists(), reason="the evaluation texts are not here")
def test_nineteen_of_twenty_personal_details_are_masked(tmp_path: Path) -> None:
    out = tmp_path / "recall.json"
    subprocess.run([str(PYTHON), "-m", "generation.deidentify", "--jsonl", str(EVAL / "phi-dev.jsonl"), "--json", str(out)], cwd=ROOT, check=True)
    overall = json.loads(out.read_text())["overall"]
    assert overall["masked"] / overall["spans"] >= 0.95
