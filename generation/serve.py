"""Starts vLLM from one configuration: `python -m generation.serve --port N [--profile cpu] --print|--exec`, in the env vllm.

`--exec` stays as the keeper of vLLM: it passes signals on, and when vLLM's server is gone, however it went, it ends every process
that the server left behind (EngineCore outlives a killed server) before it exits with the server's code. Killed itself, the kernel
tells the server to stop, which takes EngineCore with it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from generation.served import COMPLETED, ServeInvalid, check_adapter, check_model, check_version, model_folder, weights_hash

ROOT = Path(__file__).resolve().parent.parent
CONFIG = Path(__file__).with_name("serve.yaml")
STOP_S = 15.0
"""How long vLLM may take to stop before it is killed."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class StructuredOutputs(BaseModel):
    """vLLM's `--structured-outputs-config`."""

    model_config = ConfigDict(extra="forbid")
    backend: str
    disable_any_whitespace: bool


class ServeConfig(BaseModel):
    """A profile of `serve.yaml`, merged over `common`."""

    model_config = ConfigDict(extra="forbid")
    vllm: str
    model: str
    served_model_name: str
    host: str
    port: int = Field(ge=1, le=65535)
    max_model_len: int = Field(ge=256)
    max_num_seqs: int = Field(ge=1)
    dtype: str
    enforce_eager: bool
    prefix_caching: bool
    structured_outputs: StructuredOutputs
    executor: str | None = None
    gpu_memory_utilization: float | None = Field(default=None, gt=0, lt=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    data_parallel_size: int = Field(default=1, ge=1)
    max_loras: int = Field(default=0, ge=0)
    max_lora_rank: int = Field(default=16, ge=1)
    loras: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)

    @property
    def model_path(self) -> Path:
        """Where the model's files are: a folder, or a hub name's copy in this machine's cache. Raises `ServeInvalid`."""
        return model_folder(self.model)

    @property
    def versioned_name(self) -> str:
        """The served name with a hash of the model's configuration and weights, as answers carry it."""
        return f"{self.served_model_name}@{weights_hash(self.model_path)}"

    def command(self) -> list[str]:
        """vLLM's command line. Raises `ServeInvalid` where the model's files, its chat template or an adapter do not fit."""
        check_model(self.model_path, chat=self.served_model_name != COMPLETED)
        for name, folder in self.loras.items():
            check_adapter(name, ROOT / folder, self.model_path, self.max_lora_rank)
        line = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.model_path)),
            *("--served-model-name", self.versioned_name, self.served_model_name),
            *("--host", self.host, "--port", str(self.port)),
            *("--dtype", self.dtype, "--max-model-len", str(self.max_model_len), "--max-num-seqs", str(self.max_num_seqs)),
            "--enable-prefix-caching" if self.prefix_caching else "--no-enable-prefix-caching",
            *("--scheduling-policy", "priority"),
            *("--structured-outputs-config", self.structured_outputs.model_dump_json()),
            *("--tensor-parallel-size", str(self.tensor_parallel_size)),
            *("--seed", "0"),
            *("--no-enable-log-requests", "--disable-uvicorn-access-log"),
        ]
        if self.enforce_eager:
            line.append("--enforce-eager")
        if self.executor is not None:
            line += ["--distributed-executor-backend", self.executor]
        if self.gpu_memory_utilization is not None:
            line += ["--gpu-memory-utilization", str(self.gpu_memory_utilization)]
        if self.data_parallel_size > 1:
            line += ["--data-parallel-size", str(self.data_parallel_size)]
        if self.loras and not self.max_loras:
            raise ServeInvalid("loras: there are adapters but no slots for them; set max_loras to at least 1")
        if self.max_loras:
            line += ["--enable-lora", "--max-loras", str(self.max_loras), "--max-lora-rank", str(self.max_lora_rank)]
        if self.loras:
            line += ["--lora-modules", *(f"{name}={ROOT / folder}" for name, folder in sorted(self.loras.items()))]
        return line


def read_config(
    profile: str,
    *,
    host: str | None = None,
    port: int | None = None,
    model: str | None = None,
    name: str | None = None,
    settings: Sequence[str] = (),
    path: Path = CONFIG,
) -> ServeConfig:
    """The configuration of `profile`, with what this start says instead; `settings` are of the form key=value.

    A model that is given is served under `name`, or its folder's name. Raises `ServeInvalid`.
    """
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    if profile not in raw["profiles"]:
        raise ServeInvalid(f"{path.name}: no profile {profile!r}; there are {', '.join(sorted(raw['profiles']))}")
    common, special = raw["common"], raw["profiles"][profile]
    merged = common | special | {"environment": common.get("environment", {}) | special.get("environment", {})}
    named = name or (Path(model).name if model else None)
    merged |= {key: value for key, value in (("host", host), ("port", port), ("model", model), ("served_model_name", named)) if value is not None}
    for setting in settings:
        key, given, value = setting.partition("=")
        if not given:
            raise ServeInvalid(f"--set {setting}: write key=value, such as --set max_num_seqs=32")
        merged[key] = yaml.safe_load(value)
    try:
        return ServeConfig.model_validate(merged)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ServeInvalid(f"{path.name}: profile {profile}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def keep(command: list[str], environment: dict[str, str]) -> int:
    """Runs `command` until it ends, passing SIGTERM and SIGINT on; leaves no descendant behind. Returns its exit code."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def end_with_keeper() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    child = subprocess.Popen(command, env={**os.environ, **environment}, preexec_fn=end_with_keeper)  # noqa: S603, PLW1509
    asked_at: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked_at.append(time.monotonic())
        child.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    while child.poll() is None:
        if asked_at and time.monotonic() - asked_at[0] > STOP_S:
            child.kill()
        time.sleep(0.2)
    _end_orphans()
    return 0 if asked_at else child.returncode


def _end_orphans() -> None:
    """Kills what the ended server left behind; as their subreaper this process has become the parent of all of it."""
    for _ in range(50):
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.1)


def _children() -> list[int]:
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listing.read_text().split()] if listing.exists() else []


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 where the configuration is broken."""
    parser = argparse.ArgumentParser(prog="python -m generation.serve", description="Starts vLLM from generation/serve.yaml.")
    parser.add_argument("--profile", default="cpu", help="cpu or gpu (default: cpu)")
    parser.add_argument("--host", help="address to listen on; default: the profile's")
    parser.add_argument("--port", type=int, help="port on that address")
    parser.add_argument("--model", help="folder or hub name of a model; default: the reference model")
    parser.add_argument("--name", help="the name it is served under; default: its folder's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the profile instead of the file's")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--print", action="store_true", help="show the command and the environment")
    action.add_argument("--exec", action="store_true", help="start vLLM and keep it; the API key is read from VLLM_API_KEY")
    chosen = parser.parse_args(arguments)
    try:
        config = read_config(chosen.profile, host=chosen.host, port=chosen.port, model=chosen.model, name=chosen.name, settings=chosen.set)
        command = config.command()
        if chosen.exec:
            check_version(config.vllm)
    except ServeInvalid as error:
        print(error, file=sys.stderr)
        return 2
    if chosen.print:
        print(json.dumps(config.environment, indent=2))
        print(shlex.join(command))
        return 0
    runtime_loras = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if config.max_loras else {}
    return keep(command, config.environment | runtime_loras)


if __name__ == "__main__":
    sys.exit(main())
