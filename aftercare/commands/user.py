"""`aftercare user`: who may use the console and the API."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from aftercare.failure import CommandFailed
from care.clock import service_clock
from care.storage.engine import reading, transaction
from care.storage.tables import Role, User
from care.users import SHORTEST_PASSWORD, UserRefused, add_user, find_user, let_in, lock_out, set_password

app = typer.Typer(no_args_is_help=True, help="Who may use the console and the API. Passwords are asked for, or read from a pipe.")
_out = Console()
Name = Annotated[str, typer.Argument(help="The name to sign in with.")]


@app.command()
def add(name: Name, role: Annotated[Role, typer.Option(help="A lead runs campaigns as well.")] = Role.COORDINATOR) -> None:
    """Add a user."""
    if not 1 <= len(name.strip()) <= 64 or ":" in name:
        raise CommandFailed("name: must have 1 to 64 characters and no colon")
    password = _password()
    with _changing() as session:
        add_user(session, name.strip(), password, role, service_clock().now(), actor=_actor())
    _out.print(f"added, as {role}")


@app.command()
def password(name: Name) -> None:
    """Give a user a new password; open sessions end."""
    chosen = _password()
    with _changing() as session:
        set_password(session, find_user(session, name), chosen, service_clock().now(), actor=_actor())
    _out.print("changed")


@app.command("lock-out")
def lock(name: Name) -> None:
    """End a user's access and open sessions at once, as when somebody leaves."""
    with _changing() as session:
        lock_out(session, find_user(session, name), service_clock().now(), actor=_actor())
    _out.print("locked out")


@app.command("let-in")
def let(name: Name) -> None:
    """Give a user who was locked out access again."""
    with _changing() as session:
        let_in(session, find_user(session, name), service_clock().now(), actor=_actor())
    _out.print("let in")


@app.command("list")
def list_users() -> None:
    """List every user."""
    table = Table("name", "role", "access")
    with reading() as session:
        for user in session.scalars(select(User).order_by(User.username)):
            table.add_row(user.username, user.role, "locked out" if user.disabled else "yes")
    _out.print(table)


def _password() -> str:
    """Asked for twice at a terminal; else the first line of what is piped in. Raises `CommandFailed`."""
    if sys.stdin.isatty():
        chosen = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != chosen:
            raise CommandFailed("password: the two are not the same; try again")
    else:
        chosen = sys.stdin.readline().rstrip("\n")
    if len(chosen) < SHORTEST_PASSWORD:
        raise CommandFailed(f"password: must have at least {SHORTEST_PASSWORD} characters")
    return chosen


@contextmanager
def _changing() -> Iterator[Session]:
    try:
        with transaction() as session:
            yield session
    except UserRefused as error:
        raise CommandFailed(str(error)) from error


def _actor() -> str:
    return f"cli:{getpass.getuser()}"
