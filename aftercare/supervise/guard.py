"""`python -m aftercare.supervise.guard COMMAND…`: runs one process in a group of its own and ends the whole group when its parent dies or asks.

Linux signals only a direct child when a parent dies; the guard passes it on to grandchildren such as vLLM's engine and Celery's pool.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

_PR_SET_PDEATHSIG = 1
_GRACE_S = 8.0
_STOPS = (signal.SIGTERM, signal.SIGINT)


class _AskedToStop(Exception):
    """Raised where the guard waits, so that it can wait for the group's end there."""


def main() -> int:
    """The exit status of the command."""
    parent = os.getppid()
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    child = subprocess.Popen(sys.argv[1:], start_new_session=True)  # noqa: S603
    try:
        for each in _STOPS:
            signal.signal(each, _stop)
        if os.getppid() != parent:  # it died before the death signal was armed
            _stop(signal.SIGTERM, None)
        status = child.wait()
        _kill_group(child.pid)
    except _AskedToStop:
        _end_group(child)
        return 143
    return status if status >= 0 else 128 - status


def _stop(_signal: int, _frame: FrameType | None) -> None:
    for each in _STOPS:  # asked again, it ends the group all the same
        signal.signal(each, signal.SIG_IGN)
    raise _AskedToStop


def _end_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    end = time.monotonic() + _GRACE_S
    while child.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    _kill_group(child.pid)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main())
