"""The process outside: the gateway. It is nobody's child, has no terminal, and ends when the namespace does."""

import gc
import os
import resource
import select
import socket
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

from . import kernel
from .doors import Doors, receive_doors
from .plan import Plan

if TYPE_CHECKING:
    import asyncio

__all__ = ("detach", "serve")

_PARTS: Final = ("asyncio", "hosier.client.egress", "hosier.run.capture", "hosier.run.flows", "hosier.run.dns")


def detach(channel: socket.socket, plan: Plan, program: int) -> bool:
    """Forks twice, so that the program has no child that it does not know; returns in the first process, once the
    second is on its own. The third never returns."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return True
    try:
        os.setsid()  # what the terminal sends is the program's
        if os.fork():
            os._exit(0)
        serve(channel, plan, program)
    except BaseException:  # noqa: BLE001  # nobody is there to catch it
        import traceback

        traceback.print_exc()
    os._exit(1)


def serve(channel: socket.socket, plan: Plan, program: int) -> NoReturn:
    """The gateway's life: from the sockets that it gets to the end of the namespace.

    ``program``: the process that will become the program; as long as it lives, lines go to its standard error.
    """
    _let_go_of_all_but(channel.fileno())
    kernel.name_process("hosier-gateway")
    doors = receive_doors(channel)
    if doors is None:
        os._exit(0)  # it could not be set up; the other process says why
    channel.close()
    if plan.tickets:
        os.environ["KRB5CCNAME"] = plan.tickets
    for part in _PARTS:  # they take their time; the program may have ended meanwhile
        if _has_ended(doors):
            os._exit(0)
        import_module(part)
    import asyncio

    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # connections leave no cycles behind
    _raise_descriptor_limit()
    asyncio.run(_gateway(doors, plan, program))
    os._exit(0)


# --- private ---


async def _gateway(doors: Doors, plan: Plan, program: int) -> None:
    import asyncio

    from ..client.egress import ProxiedEgress
    from ..engine.choice import make_engine
    from ..engine.egress import DirectEgress
    from ..engine.resolve import Resolver
    from .capture import Capture
    from .dns import Answers
    from .doorman import Doorman
    from .flows import Flows
    from .name_server import NameServer
    from .voice import Voice
    from .ways import Ways

    loop = asyncio.get_running_loop()
    engine = make_engine()
    resolver = Resolver(loop)
    voice = Voice(verbose=plan.verbose)
    ways = Ways(
        plan.names,
        ProxiedEgress(engine, resolver, plan.chain, may_lead_back=False),  # nobody outside can reach us
        DirectEgress(engine, resolver),
        plan.bypass,
        shared_loopback=plan.shared_loopback,
    )
    doorman = Doorman(doors.network)
    NameServer(engine, doors, Answers(plan.names))
    capture = Capture(engine, doors, ways, voice)
    flows = Flows(engine, doors, doorman, ways, voice)
    ended = asyncio.Event()
    loop.add_reader(doors.end, ended.set)
    _fall_silent_with(loop, program)
    await ended.wait()
    del capture, flows
    engine.close()
    os._exit(0)  # threads may wait for name servers; nobody waits for them


def _fall_silent_with(loop: "asyncio.AbstractEventLoop", program: int) -> None:
    """A pipe that the program's user reads must end with the program, even if it leaves others behind."""
    try:
        watched = os.pidfd_open(program)
    except OSError:
        _redirect(2)
        return

    def ended() -> None:
        loop.remove_reader(watched)
        os.close(watched)
        _redirect(2)

    loop.add_reader(watched, ended)


def _let_go_of_all_but(channel: int) -> None:
    """What the program inherits is not ours to keep open: pipes, locks, folders."""
    os.chdir("/")
    _redirect(0)
    _redirect(1)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != channel:
            with suppress(OSError):
                os.close(fd)


def _redirect(fd: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, fd)
    os.close(nothing)


def _has_ended(doors: Doors) -> bool:
    return bool(select.select([doors.end], [], [], 0)[0])


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
