"""Whether the process of this container does its work: `python deploy/probe.py NAME`, status 0 or 1. Plain Python: it runs in every image."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PAGES = {
    "web": "http://127.0.0.1:8080/readyz",
    "nlu": "http://127.0.0.1:8081/healthz",
    "actions": "http://127.0.0.1:8082/health",
    "rasa": "http://127.0.0.1:8083/webhooks/aftercare/",
}
VLLM = "http://127.0.0.1:8084/v1/completions"
TOKEN_FILE = Path("/run/tokens/env")
SCHEDULE, SCHEDULE_S = "/tmp/beat-schedule", 600  # noqa: S108 - the container's own; beat writes it every three minutes
LIMIT_S = 10


def generates() -> bool:
    """Asks vLLM for one token: its health page stays green when its engine is stuck."""
    token = os.environ.get("VLLM_API_KEY") or TOKEN_FILE.read_text().partition("=")[2].strip()
    body = json.dumps({"model": os.environ.get("AFTERCARE_VLLM_MODEL") or "aftercare-reference", "prompt": "I feel", "max_tokens": 1}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(VLLM, body, headers), timeout=LIMIT_S) as answer:
        return bool(json.load(answer)["choices"])


def answers_ping(name: str) -> bool:
    """Asks the Celery worker of this container."""
    node = f"{name}@{socket.gethostname()}"
    ping = [sys.executable, "-m", "celery", "-A", "workers.app", "inspect", "ping", "-d", node, "-t", str(LIMIT_S / 2)]
    return subprocess.run(ping, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0  # noqa: S603


def ticks() -> bool:
    """Whether beat has written its schedule lately."""
    written = [path.stat().st_mtime for path in Path(SCHEDULE).parent.glob(Path(SCHEDULE).name + "*")]
    return bool(written) and time.time() - max(written) < SCHEDULE_S


def well(name: str) -> bool:
    """Whether the process of this name does its work."""
    if name in PAGES:
        with urllib.request.urlopen(PAGES[name], timeout=LIMIT_S) as answer:  # noqa: S310
            return int(answer.status) == 200
    return {"vllm": generates, "beat": ticks}[name]() if name in ("vllm", "beat") else answers_ping(name)


if __name__ == "__main__":
    try:
        sys.exit(0 if well(sys.argv[1]) else 1)
    except (OSError, ValueError, LookupError) as error:
        print(type(error).__name__, file=sys.stderr)
        sys.exit(1)
