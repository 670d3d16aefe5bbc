"""Real parts for tests: a database (SQLite, and PostgreSQL where one is given), a clock moved by hand, patients in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

_HOME = Path(tempfile.mkdtemp(prefix="aftercare-test-"))
(_HOME / "envs").symlink_to(Path(__file__).parents[1] / "var/envs")
os.environ.update({"AFTERCARE_HOME": str(_HOME), "AFTERCARE_DATABASE_URL": ""})
for name in [
    name
    for name in os.environ
    if name.startswith("AFTERCARE_")
    and name not in ("AFTERCARE_HOME", "AFTERCARE_DATABASE_URL", "AFTERCARE_TEST_POSTGRES", "AFTERCARE_EVAL_DIR", "AFTERCARE_STORM_SCALE")
]:
    del os.environ[name]

from sqlalchemy import create_engine, text  # noqa: E402
from sqlalchemy.engine import make_url  # noqa: E402

from care.campaigns.service import create_campaign, enroll  # noqa: E402
from care.clock import ManualClock  # noqa: E402
from care.patients.consent import record_consent  # noqa: E402
from care.patients.model import NewPatient  # noqa: E402
from care.settings import settings  # noqa: E402
from care.storage import engine as storage  # noqa: E402
from care.storage.tables import Base  # noqa: E402

EVAL = Path(os.environ.get("AFTERCARE_EVAL_DIR", Path(__file__).parents[2] / "shared/eval"))
NOON = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)  # noon in New York


def _databases() -> list[Any]:
    """PostgreSQL where one is given, and SQLite then among the slow tests: both together take longer than `make test` may."""
    return [pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"] if os.environ.get("AFTERCARE_TEST_POSTGRES") else ["sqlite"]


@contextmanager
def postgres_database() -> Iterator[str]:
    """An empty PostgreSQL database, dropped after use; its URL."""
    server = make_url(os.environ["AFTERCARE_TEST_POSTGRES"]).set(drivername="postgresql+psycopg")
    name = f"aftercare_{uuid4().hex[:12]}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[str]:
    """The PostgreSQL database that the tests have one after another: making one takes longer than most of them."""
    with postgres_database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database at the newest revision, of which each test has a copy: the migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFTERCARE_DATABASE_URL", f"sqlite:///{file}")
        _forget()
        storage.migrate(settings())
        storage.engine().dispose()  # the last connection leaves all in one file
    _forget()
    return file


@pytest.fixture(params=_databases())
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database at the newest revision; its URL."""
    if request.param == "postgresql":
        url = str(request.getfixturevalue("shared_postgres"))
    else:
        url = f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_sqlite'), tmp_path / 'test.db')}"
    monkeypatch.setenv("AFTERCARE_DATABASE_URL", url)
    _forget()
    if request.param == "postgresql":
        storage.migrate(settings())
        _empty()
    yield url
    storage.engine().dispose()
    _forget()


def _empty() -> None:
    """Leaves the tables as the migrations made them, whoever still holds a lock. Deleting a few rows is faster than truncating."""
    with storage.transaction() as session:
        session.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"))
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())


def _forget() -> None:
    settings.cache_clear()
    storage.engine.cache_clear()
    storage._sessions.cache_clear()


@pytest.fixture
def clock() -> ManualClock:
    """Noon in New York until moved."""
    return ManualClock(NOON)


def add_patient(number: int = 1, *, consent: bool = True, anchor: date = date(2026, 3, 1), campaign: str = "Knees", language: str = "en") -> str:
    """A patient of the knee campaign, who agreed to messages unless said otherwise; the id."""
    from sqlalchemy import select

    from care.storage.tables import Campaign

    new = NewPatient(
        reference=f"ref-{number}",
        name=f"Pat{number} Example",
        phone=f"+1555010{number:04d}",
        date_of_birth=date(1950, 1, 1),
        anchor=anchor,
        language=language,
    )
    with storage.transaction() as session:
        target = session.scalars(select(Campaign).where(Campaign.name == campaign)).one_or_none() or create_campaign(
            session, campaign, "knee_replacement", NOON
        )
        patient_id = enroll(session, target, new, NOON).patient_id
        if consent:
            record_consent(session, patient_id, granted=True, channel="sms", words="yes", source="test", at=NOON)
    return patient_id


_PORTS = ("WEB", "NLU", "ACTIONS", "RASA", "VLLM", "REDIS", "EMULATOR")


class Service:
    """The whole service, started as a user would start it, on ports of its own."""

    def __init__(self, home: Path, first_port: int = 18080, **variables: str) -> None:
        self.home = home
        self._ports = {name: first_port + number for number, name in enumerate(_PORTS)}
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("AFTERCARE_")}
        self.env |= {"AFTERCARE_HOME": str(home)} | {f"AFTERCARE_{name}_PORT": str(port) for name, port in self._ports.items()} | variables
        self._database = create_engine(variables.get("AFTERCARE_DATABASE_URL") or f"sqlite:///{home / 'data/aftercare.db'}", pool_pre_ping=True)
        self.greeting = ""
        self.web, self.phones = self.url("WEB"), self.url("EMULATOR")

    def url(self, name: str) -> str:
        """Where a process listens."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def run(self, *arguments: str, timeout: float = 540) -> subprocess.CompletedProcess[str]:
        """Runs an `aftercare` command in this home."""
        command = [sys.executable, "-m", "aftercare", *arguments]
        return subprocess.run(command, env=self.env, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=timeout, check=False)

    def text(self, number: str, body: str) -> None:
        """Sends a text as a phone."""
        httpx.post(f"{self.phones}/phones/{number}/messages", json={"body": body}).raise_for_status()

    def received(self, number: str) -> list[str]:
        """The texts that a phone got."""
        return [message["body"] for message in httpx.get(f"{self.phones}/phones/{number}/messages").json() if message["direction"] == "in"]

    def agree(self, phone: str) -> None:
        """The patient asks for messages, reads what they are, and asks again."""
        for answer in ("We would like to check", "messages are on again"):
            self.text(phone, "START")
            self.wait_for(phone, answer)

    def wait_for(self, number: str, words: str, within_s: float = 40) -> str:
        """The first text to the phone that holds these words."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if found := next((body for body in self.received(number) if words in body), None):
                return found
            time.sleep(0.2)
        raise AssertionError(f"no text with {words!r} came; there were {self.received(number)}")

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Reads the service's database."""
        with self._database.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def processes(self) -> dict[str, int]:
        """Each process's pid."""
        return {process["name"]: process["pid"] for process in json.loads(self.run("status", "--json").stdout)["processes"]}

    def logs(self) -> str:
        """Everything that was logged."""
        return "\n".join(path.read_text(errors="replace") for path in (self.home / "logs").glob("*.log*"))


@contextmanager
def start_service(home: Path, first_port: int = 18080, **variables: str) -> Iterator[Service]:
    """A running service with its demo cohort, on the real engines; `variables` are more settings."""
    envs = Path(__file__).parents[1] / "var/envs"
    if not (envs / "vllm/bin/python").exists():
        pytest.skip("the engines' environments are missing: run `make envs`")
    (home / "envs").symlink_to(envs)
    exports = Path(__file__).parents[1] / "var/models/nlu"
    exports.mkdir(parents=True, exist_ok=True)
    (home / "models").mkdir(exist_ok=True)
    if not (home / "models/nlu").exists():  # a home that was copied has it
        (home / "models/nlu").symlink_to(exports)
    running = Service(home, first_port, **{"AFTERCARE_SMS_SEGMENTS_PER_SECOND": "1000", **variables})
    started = running.run("up", "--detach")
    assert started.returncode == 0, started.stdout + started.stderr
    running.greeting = started.stdout
    try:
        yield running
    finally:
        stopped = running.run("down")
    assert stopped.returncode == 0


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service that most tests share."""
    with start_service(tmp_path_factory.mktemp("service"), AFTERCARE_CHAT_ORIGINS="http://127.0.0.1:18090") as running:
        yield running
