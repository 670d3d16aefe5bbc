"""`python -m bot.serve`: trains the dialogue where its files are newer than the model, and becomes the Rasa server."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

_BOT = Path(__file__).resolve().parent


def main() -> None:
    """Does not return: the process becomes Rasa."""
    parser = argparse.ArgumentParser(prog="bot.serve", description="Trains where needed, and serves Rasa.")
    parser.add_argument("--port", type=int, default=8083)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--train-only", action="store_true")
    given = parser.parse_args()
    model = given.models / "dialogue.tar.gz"
    environment = {**os.environ, **_redis_parts()}
    if _stale(model):
        train = [sys.executable, "-m", "rasa", "train", "core", "--domain", "domain", "--stories", "data", "--config", "config.yml"]
        subprocess.run([*train, "--out", str(given.models), "--fixed-model-name", "dialogue"], cwd=_BOT, env=environment, check=True)  # noqa: S603
    if given.train_only:
        return
    credentials = "credentials-bench.yml" if os.environ.get("AFTERCARE_BENCH_REST") == "1" else "credentials.yml"
    os.chdir(_BOT)
    run = [sys.executable, "-m", "rasa", "run", "--port", str(given.port), "--interface", given.host, "--model", str(model)]
    os.execve(sys.executable, [*run, "--endpoints", "endpoints.yml", "--credentials", credentials, "--cors", ""], environment)  # noqa: S606


def _stale(model: Path) -> bool:
    sources = [_BOT / "config.yml", *(_BOT / "domain").glob("*.yml"), *(_BOT / "data").glob("*.yml")]
    return not model.exists() or any(source.stat().st_mtime > model.stat().st_mtime for source in sources)


def _redis_parts() -> dict:
    """Rasa's lock store takes the address in parts."""
    url = urlsplit(os.environ["AFTERCARE_REDIS_URL"])
    return {
        "AFTERCARE_REDIS_HOST": url.hostname or "127.0.0.1",
        "AFTERCARE_REDIS_PORT": str(url.port or 6379),
        "AFTERCARE_REDIS_DB": url.path.strip("/") or "0",
        "AFTERCARE_REDIS_PASSWORD": url.password or "",
    }


if __name__ == "__main__":
    main()
