"""One of several processes that serve: ``python -m hosier.workers.worker DESCRIPTOR``, started by the supervisor.

It takes orders over its channel only. The stop signals go to the supervisor, who started it with them blocked: a
terminal's Ctrl-C reaches every process of the group, and one press must not count twice.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping

from ..errors import ConfigError
from ..observe.access_log import AccessLog
from ..observe.counts import Counts
from ..observe.destinations import FileWriter
from ..server.process import calm_collector, drain_unless, explain_on_stderr, loop_runner
from ..server.server import Server
from ..server.snapshot import snapshot
from .changing import Changing
from .channel import ABANDON, DRAIN, PREPARE, READY, REOPEN, SNAPSHOT, SWITCH, Assignment, receive_assignment, value
from .counting import cells_of
from .memory import CommonMemory
from .shared import SharedTable
from .tallies import SharedTallyBook
from .vault import SharedVault

__all__ = ("work",)


def work() -> None:
    """Serves until it is told to stop, or its supervisor is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    assignment = receive_assignment(channel)
    if assignment is None:
        return
    explain_on_stderr(verbose=assignment.verbose)
    calm_collector()
    try:
        loop_runner(uvloop=assignment.uvloop)(_serve(channel, assignment))
    except ConfigError as error:  # the supervisor found nothing wrong, but a file may have changed since
        sys.exit(f"hosier: {error}")


async def _serve(channel: socket.socket, assignment: Assignment) -> None:
    """The worker's life."""
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    tallies = SharedTallyBook(SharedTable(assignment.table), assignment.number)
    counts = Counts(cells_of(SharedTable(assignment.counts), assignment.number))

    def dropped(lines: int) -> None:
        counts.count("log_lines_dropped", number=lines)

    log = assignment.destination.writer(shared=True, dropped=dropped) if assignment.log != "off" else None

    memory = CommonMemory.open(assignment.memory)
    server = Server(
        assignment.settings,
        on_session_end=AccessLog(assignment.log, log.write) if log is not None else None,
        on_totals=tallies.tell,
        tallies=tallies,
        failures=memory.failures,
        passwords=memory.passwords,
        counts=counts if assignment.watched else None,
        vault=SharedVault(SharedTable(assignment.purses), assignment.number),
        egress=assignment.egress,
    )
    drain, end = asyncio.Event(), asyncio.Event()

    async def tell_who_is_here(_: asyncio.StreamReader) -> None:
        writer.write(SNAPSHOT + value(snapshot(server)))

    async def reopen(_: asyncio.StreamReader) -> None:
        if isinstance(log, FileWriter):
            log.reopen()

    changing = Changing(server, writer, socket.socket(fileno=assignment.doors) if assignment.doors >= 0 else None)
    more = {
        REOPEN: reopen,
        SNAPSHOT: tell_who_is_here,
        PREPARE: changing.prepare,
        SWITCH: changing.switch,
        ABANDON: changing.abandon,
    }
    listening: asyncio.Future[None] | None = None
    try:
        await server.start([socket.socket(fileno=fd) for fd in assignment.sockets])
        writer.write(READY)
        listening = asyncio.ensure_future(_obey(reader, drain, end, more))
        await drain.wait()
        await drain_unless(server, end)
    finally:
        if listening is not None:
            listening.cancel()
        await server.close()
        if log is not None:
            log.close()
        writer.close()


async def _obey(
    orders: asyncio.StreamReader,
    drain: asyncio.Event,
    end: asyncio.Event,
    more: Mapping[bytes, Callable[[asyncio.StreamReader], Awaitable[None]]],
) -> None:
    """Does what the supervisor says; ``more``: by its word, what else it may say. A supervisor that died wanted what
    one that stops wants: nobody new, and time for those who are here."""
    while order := await orders.read(1):
        if order in more:
            await more[order](orders)
        elif order == DRAIN:
            drain.set()
        else:
            drain.set()
            end.set()
    drain.set()


if __name__ == "__main__":
    work()
