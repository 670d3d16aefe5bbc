"""The command line: each command parses, calls one function, and says what went wrong in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aftercare.failure import CommandFailed
from care.keys import KeysInvalid, ensure_keys, key_file
from care.knowledge import KnowledgeInvalid
from care.settings import ROOT, SettingsInvalid, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Aftercare: patient follow-up by SMS and web chat.", pretty_exceptions_enable=False)
_out = Console()
_errors = Console(stderr=True)
USAGE_ERROR = 2
_HELP = {"-h", "--help"}


def main() -> None:
    """Runs a command; a mistake in settings, keys, files or ports ends it with one line and status 2."""
    from aftercare.commands import campaign, operate, patient, user  # noqa: F401 - operate adds its commands to campaign

    app.add_typer(campaign.app, name="campaign")
    app.add_typer(patient.app, name="patient")
    app.add_typer(user.app, name="user")
    try:
        app()
    except (SettingsInvalid, KeysInvalid, KnowledgeInvalid, CommandFailed) as error:
        _errors.print(f"aftercare: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(USAGE_ERROR)


@app.command()
def init() -> None:
    """Make the keys and bring the database to the newest revision."""
    from care.storage.engine import migrate

    ensure_keys(settings())
    migrate(settings())


@app.command()
def up(detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready.")] = False, demo: bool = True) -> None:
    """Start every process, wait until each is ready, and watch them."""
    from aftercare.commands.up import run_detached, run_in_front

    init()
    (run_detached if detach else run_in_front)(demo)


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from aftercare.commands.up import stop_running

    _out.print("stopped" if stop_running() else "nothing runs")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Each process's state, port and pid, and where to go."""
    from aftercare.commands.up import running_state

    state = running_state()
    if as_json:
        print(json.dumps(state or {"processes": []}, indent=1))
    elif state is None:
        _out.print("nothing runs; start it with `aftercare up`")
    else:
        for process in state["processes"]:
            _out.print(f"{process['name']:10} {process['state']:10} port {process['port'] or '-':<6} pid {process['pid']}")
    raise typer.Exit(0 if state else 1)


@app.command()
def doctor(show_settings: Annotated[bool, typer.Option("--settings", help="List every setting with its meaning.")] = False) -> None:
    """Check ports, versions, disk, keys, models, clock and each engine's answer, each with its remedy."""
    from aftercare.doctor import examine, list_settings

    if show_settings:
        list_settings(_out)
        return
    raise typer.Exit(0 if examine(_out) else 1)


@app.command()
def demo() -> None:
    """Make the demo cohort and users on a running service, and print where to go."""
    from aftercare.demo import seed, where_to_go

    seed(settings())
    where_to_go(_out, settings())


@app.command()
def triage(
    text: Annotated[str, typer.Argument()] = "",
    jsonl: Annotated[Path | None, typer.Option(help="Lines of {id, text, …}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers go, a line each.")] = None,
) -> None:
    """Triage a report, or a file of them."""
    from aftercare.commands.batch import run_batch, triage_line

    run_batch(triage_line, text, jsonl, out)


@app.command()
def parse(
    text: Annotated[str, typer.Argument()] = "",
    jsonl: Annotated[Path | None, typer.Option(help="Lines of {id, text}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers go, a line each.")] = None,
) -> None:
    """Say what a message means, or a file of them."""
    from aftercare.commands.batch import parse_line, run_batch

    run_batch(parse_line, text, jsonl, out)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(context: typer.Context, what: Annotated[str, typer.Argument(help="nlu or generator")]) -> None:
    """Train the encoder or the generator by its recipe."""
    _in_environment({"nlu": ("nlu", "nlu.train"), "generator": ("train", "generation.train")}, what, context.args)


@app.command(name="eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(context: typer.Context, what: Annotated[str, typer.Argument(help="nlu, triage, generation, numbers or deid")]) -> None:
    """Measure the encoder, the decision, the drafts, the reading of numbers and times, or the de-identification, on labelled texts."""
    from aftercare.bench.instance import throwaway_service
    from aftercare.commands.up import running_state

    known = {
        "nlu": ("nlu", "aftercare.evaluation.understanding"),
        "triage": ("app", "aftercare.evaluation.decisions"),
        "generation": ("app", "aftercare.evaluation.generation"),
        "numbers": ("app", "aftercare.commands.numbers"),
        "deid": ("train", "generation.deidentify"),
    }
    starts = what in ("triage", "generation") and not _HELP.intersection(context.args) and running_state() is None
    with throwaway_service() if starts else nullcontext(dict(os.environ)) as environment:
        _in_environment(known, what, context.args, environment)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="reply, dispatch, ingest, nlu or generation")],
    check_ins: Annotated[int, typer.Option(help="reply: how many check-ins are run on each way.", min=1)] = 20,
    contacts: Annotated[int, typer.Option(help="dispatch: how many contacts are sent on each way; ingest: how many go out meanwhile.", min=10)] = 1000,
    webhooks: Annotated[int, typer.Option(help="ingest: how many are posted on each way.", min=100)] = 3000,
    enrollments: Annotated[int, typer.Option(help="dispatch: among how many what is due is found.", min=5000)] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="nlu: how many times each way is measured, in turn.", min=1)] = 7,
    engines: Annotated[bool, typer.Option("--engines", help="nlu: compare the ways to run the encoder instead.")] = False,
    threads: Annotated[int, typer.Option(help="nlu: threads of a forward.", min=1)] = 2,
    reports: Annotated[int, typer.Option(help="generation: how many are drafted at each concurrency, in each of three rounds.", min=32)] = 64,
    database: Annotated[str, typer.Option(help="An empty PostgreSQL database for the service to measure; without one SQLite.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure a service of its own, each figure as a ratio to the bare engine in the same run."""
    from aftercare.bench.instance import run_in, throwaway_service
    from aftercare.bench.nlu import measure

    if name == "nlu" and engines:
        _in_environment({"engines": ("nlu", "nlu.engines")}, "engines", ["--rounds", str(rounds), "--threads", str(threads)])
    if name == "nlu":
        figures = measure(rounds, threads).model_dump_json(indent=1)
        print(figures) if as_json else _out.print_json(figures)
        return

    benchmarks = {
        "reply": (["--check-ins", str(check_ins)], {"AFTERCARE_BENCH_REST": "1"}),
        "dispatch": (["--contacts", str(contacts), "--enrollments", str(enrollments)], {}),
        "ingest": (["--webhooks", str(webhooks), "--contacts", str(contacts)], {}),
    }
    if name == "generation":  # vLLM alone
        answer = run_in(dict(os.environ), "aftercare.bench.generation", "--requests", str(reports))
    elif name in benchmarks:
        arguments, variables = benchmarks[name]
        with throwaway_service(AFTERCARE_DATABASE_URL=database, **variables) as environment:
            answer = run_in(environment, f"aftercare.bench.{name}", *arguments)
    else:
        raise CommandFailed(f"there is no benchmark {name!r}; choose one of {', '.join([*benchmarks, 'nlu', 'generation'])}")
    print(answer if as_json else "", end="")
    if not as_json:
        _out.print_json(answer)


@app.command()
def simulate(
    patients: Annotated[int, typer.Option(help="How many patients the campaign has.", min=1, max=100_000)] = 200,
    days: Annotated[int, typer.Option(help="How many days it goes on.", min=1, max=400)] = 30,
    speed: Annotated[
        float, typer.Option(help="How many seconds pass for the service in one real second: at 1440 a day takes a minute.", min=1, max=3600)
    ] = 1440,
    protocol: Annotated[str, typer.Option(help="The protocol it follows.")] = "knee_replacement",
    spread_minutes: Annotated[int, typer.Option(help="Over how much of the day the campaign spreads its contacts.", min=0, max=480)] = 60,
    discharged_over: Annotated[
        int,
        typer.Option(help="Discharges lie on so many days before the start as well, as in a programme that has run a while.", min=0),
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same patients.")] = 1,
    database: Annotated[str, typer.Option(help="An empty PostgreSQL database for the service; without one SQLite.")] = "",
    out: Annotated[Path, typer.Option(help="Where report.html and report.json go.")] = Path("var/simulation"),
) -> None:
    """Run a whole campaign on a fast clock against phones that answer, stay silent, opt out or are dead, and judge every message."""
    from aftercare.bench.instance import run_in, throwaway_service

    # Paces are kept in real seconds, of which a fast clock has fewer.
    paces = {"AFTERCARE_SMS_SEGMENTS_PER_SECOND": f"{min(10 * speed, 10_000):g}", "AFTERCARE_SMS_PER_SECOND": "50"}
    variables = {"AFTERCARE_CLOCK_SPEED": f"{speed:g}", "AFTERCARE_DATABASE_URL": database, **paces}
    arguments = ["--patients", str(patients), "--days", str(days), "--protocol", protocol, "--seed", str(seed), "--out", str(out.resolve())]
    arguments += ["--spread-minutes", str(spread_minutes), "--discharged-over", str(discharged_over)]
    with throwaway_service(**variables) as environment:
        print(run_in(environment, "aftercare.simulate.run", *arguments), end="")


@app.command(name="keys")
def rotate_keys(action: Annotated[str, typer.Argument(help="rotate")]) -> None:
    """Make a new key for what is encrypted in the database, and write every row with it. The service must be down."""
    from aftercare.commands.up import running_state
    from care.storage.rotation import rotate_field_key

    if action != "rotate":
        raise CommandFailed(f"there is no keys {action!r}; choose: rotate")
    if running_state() is not None:
        raise CommandFailed("the service runs and holds the old key; stop it with `aftercare down` first")
    ensure_keys(settings())
    _out.print(f"{rotate_field_key(settings())} rows written with a new key; back up {key_file(settings())} again")


@app.command(name="audit")
def verify_audit(action: Annotated[str, typer.Argument(help="verify")]) -> None:
    """Check that no entry of the audit chain was changed or removed."""
    from care.audit import verify
    from care.storage.engine import reading

    if action != "verify":
        raise CommandFailed(f"there is no audit {action!r}; choose: verify")
    with reading() as session:
        broken = verify(session)
    if broken is not None:
        raise CommandFailed(f"the audit chain is broken at entry {broken}: compare with the last backup")
    _out.print("the audit chain is whole")


def _in_environment(known: dict[str, tuple[str, str]], what: str, args: list[str], variables: dict[str, str] | None = None) -> None:
    if what not in known:
        raise CommandFailed(f"{what!r} is not known; choose: {', '.join(known)}")
    environment, module = known[what]
    python = settings().home / "envs" / environment / "bin/python"
    if not python.exists():
        raise CommandFailed(f"the environment {environment} is missing; run `make {'train-env' if environment == 'train' else 'envs'}`")
    raise typer.Exit(subprocess.call([str(python), "-m", module, *args], cwd=ROOT, env=variables))  # noqa: S603
