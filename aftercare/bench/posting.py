"""Posting ready-made requests over connections that stay open: the same load for each side of a bench."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aftercare.failure import CommandFailed


async def post_all(port: int, requests: Sequence[bytes], connections: int) -> float:
    """Seconds until every request is answered over so many connections at once. Raises `CommandFailed` as `post_each` does."""
    began = time.perf_counter()
    await asyncio.gather(*(post_each(port, requests[first::connections]) for first in range(connections)))
    return time.perf_counter() - began


async def post_each(port: int, requests: Sequence[bytes], pause_s: float = 0.0) -> list[float]:
    """The seconds that each answer took, one after the other over one connection. Raises `CommandFailed` where one is not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seconds = []
    for request in requests:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise CommandFailed(f"the service to measure answered {head.partition(bytes((13,)))[0].decode()}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        seconds.append(time.perf_counter() - began)
        if pause_s:
            await asyncio.sleep(pause_s)
    writer.close()
    await writer.wait_closed()
    return seconds
