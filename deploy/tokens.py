"""Hands each engine the tokens that it needs of keys.json, and no other key: the one file is the truth for all.

`python deploy/tokens.py files FOLDER` writes FOLDER/rasa/env and FOLDER/vllm/env, for a shell to read; `python deploy/tokens.py kubernetes` prints the
secrets, for `kubectl apply -f -`. Where there is no keys.json yet it is made. Runs in the environment app.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from care.keys import ensure_keys, key_file
from care.settings import settings


def engine_tokens() -> dict[str, dict[str, str]]:
    """The variables of each engine."""
    keys = ensure_keys(settings())
    return {
        "rasa": {"AFTERCARE_RASA_TOKEN": keys.rasa_token.get_secret_value(), "AFTERCARE_TRACKER_KEY": keys.tracker.get_secret_value().hex()},
        "vllm": {"VLLM_API_KEY": keys.vllm_token.get_secret_value()},
    }


def write_files(folder: Path) -> None:
    """Writes each engine's file, readable by its owner alone."""
    for engine, variables in engine_tokens().items():
        part = folder / engine / f"env.{os.getpid()}"
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "w") as out:
            out.writelines(f"{name}={value}\n" for name, value in variables.items())
        part.replace(folder / engine / "env")


def secrets() -> dict[str, Any]:
    """The secrets as Kubernetes reads them."""
    contents = {f"aftercare-{engine}": variables for engine, variables in engine_tokens().items()}
    contents["aftercare-keys"] = {"keys.json": key_file(settings()).read_text()}
    items = [
        {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name, "namespace": "aftercare"}, "stringData": content}
        for name, content in contents.items()
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="deploy/tokens.py", description="Hands each engine its tokens.")
    to = parser.add_subparsers(dest="to", required=True)
    to.add_parser("files").add_argument("folder", type=Path)
    to.add_parser("kubernetes")
    given = parser.parse_args()
    if given.to == "files":
        write_files(given.folder)
    else:
        print(json.dumps(secrets(), indent=1))


if __name__ == "__main__":
    main()
