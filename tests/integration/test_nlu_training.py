"""`aftercare train nlu` on a corpus of a few messages: every mode, several seeds, going on after an end. Skipped where the nlu environment is not built."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from care.settings import ROOT

PYTHON = ROOT / "var" / "envs" / "nlu" / "bin" / "python"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON.exists(), reason="the nlu environment is not built: make envs")]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    messages = [
        {"text": "[no](negation) [fever](symptom:denied) but my [knee](site) is [sore](symptom)", "intents": ["report_symptom"], "acuity": "self_care"},
        {"text": "I [can't breathe](symptom)", "intents": ["report_symptom"], "acuity": "emergency"},
        {"text": "hello there", "intents": ["greet"], "acuity": "self_care"},
    ]
    (tmp_path / "voices").mkdir()
    for voice in ("one", "two", "three"):
        content = yaml.safe_dump({"voice": voice, "about": "a test", "messages": messages * 3})
        (tmp_path / "voices" / f"{voice}.yaml").write_text(content, encoding="utf-8")
    (tmp_path / "splits.yaml").write_text("validation: [two]\ntest: [three]\n", encoding="utf-8")
    return tmp_path


def _train(corpus: Path, changes: dict[str, object], *options: str) -> subprocess.CompletedProcess[str]:
    recipe = yaml.safe_load((ROOT / "nlu" / "recipes" / "reference.yaml").read_text(encoding="utf-8"))
    shape = {**recipe["shape"], "rank": 2, **{name: value for name, value in changes.items() if name in recipe["shape"]}}
    recipe |= {"epochs": 1, "shape": shape, **{name: value for name, value in changes.items() if name not in shape}}
    path = corpus / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command = [str(PYTHON), "-m", "nlu.train", "--recipe", str(path), "--corpus", str(corpus), "--out", str(corpus / "out"), "--run", str(corpus / "run")]
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "frozen"},
        {"mode": "full", "frozen_layers": 5, "adversarial": 0.5, "agreement": 0.5},
        {"mode": "lora", "frozen_layers": 3, "seeds": [1, 2], "averaging": 0.0, "gazetteer": False},
    ],
)
def test_each_mode_leaves_a_model_that_loads(corpus: Path, changes: dict[str, object]) -> None:
    done = _train(corpus, changes)
    assert done.returncode == 0, done.stderr[-2000:]
    labels = json.loads((corpus / "out" / "labels.json").read_text())
    assert labels["shape"]["mode"] == changes["mode"] and labels["members"] == len(changes.get("seeds", [1]))
    assert "written to" in done.stdout and (corpus / "out" / "model-card.md").exists()


def test_a_run_that_was_cut_off_goes_on_and_later_voices_start_from_a_model(corpus: Path) -> None:
    assert _train(corpus, {"mode": "frozen", "epochs": 1}).returncode == 0
    again = _train(corpus, {"mode": "frozen", "epochs": 2})
    assert again.returncode == 0 and "epoch 2:" in again.stdout and "epoch 1:" not in again.stdout, again.stderr[-2000:]
    other_shape = _train(corpus, {"mode": "lora"}, "--start", str(corpus / "out"))
    assert other_shape.returncode == 2 and "Traceback" not in other_shape.stderr and "take both files" in other_shape.stderr


def test_a_run_cut_off_between_two_seeds_keeps_the_first_ones_best_weights(corpus: Path) -> None:
    assert _train(corpus, {"mode": "frozen", "seeds": [1]}).returncode == 0
    (corpus / "out").rename(corpus / "first")
    both = _train(corpus, {"mode": "frozen", "seeds": [1, 2]})
    assert both.returncode == 0 and "seed 1, epoch" not in both.stdout, both.stderr[-2000:]
    furthest = _said(
        "from safetensors.torch import load_file\n"
        f"first, both = (load_file(f'{{folder}}/weights.safetensors') for folder in ({str(corpus / 'first')!r}, {str(corpus / 'out')!r}))\n"
        "print(max(float((first[name] - both[name]).abs().max()) for name in first if name.startswith('0.')))"
    )
    assert float(furthest) < 1e-3


def _said(script: str) -> str:
    return subprocess.run([str(PYTHON), "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300, check=True).stdout


def test_thresholds_are_chosen_anew_on_later_validation_voices_and_the_weights_stay(corpus: Path) -> None:
    assert _train(corpus, {"mode": "lora", "epochs": 1}).returncode == 0
    labels, card = (json.loads((corpus / "out" / "labels.json").read_text()), (corpus / "out" / "model-card.md").read_text())
    messages = [{"text": "I am well", "intents": ["report_well"], "acuity": "self_care"}] * 5
    (corpus / "voices" / "later.yaml").write_text(yaml.safe_dump({"voice": "later", "about": "a test", "messages": messages}), encoding="utf-8")
    (corpus / "splits.yaml").write_text("validation: [two, later]\ntest: [three]\n", encoding="utf-8")
    assert _train(corpus, {}, "--calibrate", str(corpus / "out")).returncode == 0
    anew, later = (json.loads((corpus / "out" / "labels.json").read_text()), (corpus / "out" / "model-card.md").read_text())
    assert anew["weights_sha256"] == labels["weights_sha256"]
    assert anew["temperatures"] != labels["temperatures"]
    assert "9 messages of two" in card and "14 messages of" in later
    assert [line for line in card.splitlines() if line.startswith("- Trained on ")] == [line for line in later.splitlines() if line.startswith("- Trained on ")]


def test_the_mean_of_two_trainings_is_one_network_and_others_are_refused(corpus: Path) -> None:
    for seed in (1, 2):
        shutil.rmtree(corpus / "run", ignore_errors=True)
        assert _train(corpus, {"mode": "lora", "seeds": [seed]}).returncode == 0
        (corpus / "out").rename(corpus / f"seed-{seed}")
    folders = [str(corpus / "seed-1"), str(corpus / "seed-2")]
    done = _train(corpus, {}, "--merge", *folders)
    assert done.returncode == 0, done.stderr[-2000:]
    card = (corpus / "out" / "model-card.md").read_text()
    assert "seed 1," in card and "seed 2," in card and "The mean of 2 such trainings" in card
    furthest = _said(
        "from safetensors.torch import load_file\n"
        f"one, two, mean = (load_file(f'{{folder}}/weights.safetensors') for folder in ({folders[0]!r}, {folders[1]!r}, {str(corpus / 'out')!r}))\n"
        "print(max(float((mean[name] - (one[name] + two[name]) / 2).abs().max()) for name in mean if name.startswith('0.')))"
    )
    assert float(furthest) < 1e-2
    (corpus / "run").rename(corpus / "run-lora")
    assert _train(corpus, {"mode": "frozen"}).returncode == 0
    refused = _train(corpus, {}, "--merge", folders[0], str(corpus / "out"))
    assert refused.returncode == 2 and "Traceback" not in refused.stderr and "another shape" in refused.stderr


def test_the_average_of_a_short_run_holds_next_to_nothing_of_its_first_step() -> None:
    left = _said(
        "from torch import nn; from torch.optim.swa_utils import AveragedModel; from nlu.train import moving_average\n"
        "network = nn.Linear(1, 1, bias=False); nn.init.ones_(network.weight)\n"
        "average = AveragedModel(network, multi_avg_fn=moving_average(0.998)); average.update_parameters(network); nn.init.zeros_(network.weight)\n"
        "for _ in range(179): average.update_parameters(network)\n"
        "print(float(average.module.weight))"
    )
    assert 0 < float(left) < 0.01


def test_an_ablation_tells_the_mean_over_the_seeds_and_how_far_they_are_apart() -> None:
    told = _said(
        "from nlu.ablation import CHANGES, Row, table; from nlu.scores import score\n"
        "empty = score([], [])\n"
        "rows = [Row(name, [empty.model_copy(update={'span_f1': each}) for each in found], 9.0) for name, found in (('as is', (0.4, 0.6)), ('other', (0.5, 0.9)))]\n"
        "print(table(rows, [1, 2], 10, 5)); print([change.name for change in CHANGES])"
    )
    assert "--ablation --seeds 1 2`" in told
    assert "| as is | - | 0.500 ± 0.141 | - |" in told
    assert "| other | - | 0.700 ± 0.283 (+0.200) | - |" in told
    assert all(name in told for name in ("no weight decay", "no dropout", "no augmentation by `typo`"))


def test_a_wrong_recipe_is_named_with_file_field_and_remedy(corpus: Path) -> None:
    done = _train(corpus, {"dropout": 2, "colour": "red"})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "recipe.yaml" in done.stderr and "dropout" in done.stderr and "colour" in done.stderr and "take it out" in done.stderr
