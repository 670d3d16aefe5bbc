"""`python -m emulator`: the Twilio emulator as a process."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from emulator.app import Account, create_app
from emulator.store import Ledger


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(prog="emulator", description="Twilio's Messages API, emulated, with a page of phones.")
    parser.add_argument("--port", type=int, default=8086)
    parser.add_argument("--account-sid", required=True)
    parser.add_argument("--auth-token", required=True)
    parser.add_argument("--numbers", required=True, help="the account's numbers, comma-separated")
    parser.add_argument("--inbound-url", required=True, help="where phones' messages are posted")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file of the ledger")
    given = parser.parse_args()
    account = Account(given.account_sid, given.auth_token, given.numbers.split(","), given.inbound_url)
    uvicorn.run(create_app(account, Ledger(given.state)), host="127.0.0.1", port=given.port, access_log=False, log_level="error")


if __name__ == "__main__":
    main()
