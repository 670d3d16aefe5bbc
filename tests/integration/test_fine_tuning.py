"""The recipes for real base models, on tiny random models of the same architectures; and the gate. Skipped where the train environment is not built."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from care.settings import ROOT
from generation.recipe import RECIPES, RecipeInvalid, read_recipe

PYTHON = ROOT / "var" / "envs" / "train" / "bin" / "python"
BASES = ("llama-3.1-8b", "qwen2.5-7b", "mistral-7b", "gemma-2-9b")
needs_train = pytest.mark.skipif(not PYTHON.exists(), reason="the train environment is not built: make dev")
RUN = """
import json, sys
from pathlib import Path
from tests.integration.tiny_bases import make_base
from generation.train import main
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    base = make_base(name, folder / f"{name}-base")
    code = main(["--recipe", str(folder / f"{name}.yaml"), "--base", str(base), "--out", str(folder / name), "--registry", str(folder / "registry.yaml")])
    assert code == 0, (name, code)
"""
LOAD = """
import sys
from pathlib import Path
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, name = Path(sys.argv[1]), sys.argv[2]
model = AutoModelForCausalLM.from_pretrained(folder / f"{name}-base")
adapted = PeftModel.from_pretrained(model, folder / name).merge_and_unload()
assert AutoTokenizer.from_pretrained(folder / name).chat_template
assert sum(weight.numel() for weight in adapted.parameters()) == sum(weight.numel() for weight in AutoModelForCausalLM.from_pretrained(folder / f"{name}-base").parameters())
"""


def python(script: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "AFTERCARE_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": str(home)}
    return subprocess.run([str(PYTHON), "-c", script, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)


def small(name: str, folder: Path, **changes: object) -> Path:
    """The shipped recipe, cut down to two steps on a few lines."""
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    lines = [{"text": f"report {number}: my wound hurts and it is red", "acuity": "routine", "patient": f"p{number}"} for number in range(12)]
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recipe["data"] |= {"voices": False, "rules": False, "graph": 0, "jsonl": str(folder / "lines.jsonl"), "examples": 8}
    recipe["training"] |= {"epochs": 1.0, "batch": 2, "accumulate": 2, "evaluate_every": 1, "device": "cpu"}
    recipe["settings"]["frozen_layers"] = 1
    recipe["format"]["max_tokens"] = 4096  # the tiny tokenizers make a token of almost every byte
    recipe["evaluation"] = {"messages": 1}
    for part, value in changes.items():
        recipe[part] |= value  # type: ignore[operator]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return folder / f"{name}.yaml"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_whole(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.stem in recipe.name
    assert recipe.base is None or recipe.format.style == "chat"


def test_a_mistake_in_a_recipe_is_said_with_its_field(tmp_path: Path) -> None:
    for changes, said in (
        ({"settings": {"learning_rate": -1}}, "settings.learning_rate"),
        ({"training": {"batches": 4}}, "training.batches"),
        ({"settings": {"lora": None}}, "there is no adapter without settings.lora"),
    ):
        with pytest.raises(RecipeInvalid, match=said):
            read_recipe(small("qwen2.5-7b", tmp_path, **changes))


@needs_train
@pytest.mark.slow
def test_each_recipe_trains_saves_and_merges_on_its_architecture(tmp_path: Path) -> None:
    for name in BASES:
        small(name, tmp_path, **({"export": {"kind": "merged"}} if name == "mistral-7b" else {}))
    done = python(RUN, str(tmp_path), *BASES, home=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    registry = yaml.safe_load((tmp_path / "registry.yaml").read_text())["models"]
    assert [entry["name"] for entry in registry] == list(BASES)
    assert all(entry["state"] == "candidate" and entry["before"]["messages"] == 1 for entry in registry)
    for name in BASES:
        assert "fine-tuned" in (tmp_path / name / "model-card.md").read_text()
        assert (tmp_path / name / ("config.json" if name == "mistral-7b" else "adapter_config.json")).exists()
    loaded = python(LOAD, str(tmp_path), "qwen2.5-7b", home=tmp_path)
    assert loaded.returncode == 0, loaded.stderr[-2000:]


@needs_train
@pytest.mark.slow
def test_two_processes_make_one_candidate_and_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    small("llama-3.1-8b", tmp_path)
    make = "import sys; from pathlib import Path; from tests.integration.tiny_bases import make_base; make_base('llama-3.1-8b', Path(sys.argv[1]))"
    assert python(make, str(tmp_path / "base"), home=tmp_path).returncode == 0
    given = ["--recipe", str(tmp_path / "llama-3.1-8b.yaml"), "--base", str(tmp_path / "base"), "--registry", str(tmp_path / "registry.yaml")]
    launch = "import sys; from torch.distributed.run import main; sys.argv[0] = 'torchrun'; main()"
    both = python(launch, "--nproc-per-node", "2", "--standalone", "-m", "generation.train", *given, home=tmp_path)
    assert both.returncode == 0, both.stderr[-3000:]
    assert both.stdout.count("is a candidate") == 1
    curve = (tmp_path / "training/llama-3.1-8b/curve.csv").read_text()
    again = python("import sys; from generation.train import main; sys.exit(main(sys.argv[1:]))", *given, "--resume", home=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert (tmp_path / "training/llama-3.1-8b/curve.csv").read_text().startswith(curve)


@needs_train
@pytest.mark.slow
def test_a_base_that_does_not_fit_is_said_in_one_line(tmp_path: Path) -> None:
    small("qwen2.5-7b", tmp_path)
    make = (
        "import sys; from pathlib import Path; from tests.integration.tiny_bases import make_base; make_base('qwen2.5-7b', Path(sys.argv[1]), template=False)"
    )
    assert python(make, str(tmp_path / "bare"), home=tmp_path).returncode == 0
    run = "import sys; from generation.train import main; sys.exit(main(sys.argv[1:]))"
    given = ["--recipe", str(tmp_path / "qwen2.5-7b.yaml"), "--registry", str(tmp_path / "registry.yaml")]
    for base, said in ((tmp_path / "bare", "has no chat template"), (tmp_path / "nowhere", "Give the folder of a causal model")):
        done = python(run, *given, "--base", str(base), home=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]
