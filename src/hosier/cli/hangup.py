"""SIGHUP: the settings are read again, and all of them hold from then on, or none."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..config.settings import ServeSettings
from ..errors import ConfigError
from ..server.notify import Notifier
from ..server.reload import Reload
from ..server.server import Server

if TYPE_CHECKING:
    from ..workers.supervisor import Supervisor

__all__ = ("Change", "Read", "change_server", "change_workers", "hear_hangup", "ignore_hangup", "reload_at_hangup")

KEPT: Final = frozenset(("admin", "log", "log_file", "log_to", "run_as", "upstream", "uvloop", "workers"))
"""What is settled at the start of the process."""

_log = logging.getLogger("hosier")

Read = Callable[[], tuple[ServeSettings, Sequence[str]]]
"""The settings as they are written now, and warnings about them. Raises ConfigError."""

Change = Callable[[ServeSettings], Awaitable[str]]
"""Makes settings hold, and tells in a few words what came of it. Raises ConfigError, with nothing changed."""


def ignore_hangup() -> bool:
    """Until somebody listens to it, the signal does nothing, in workers too; False: there is no such signal."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return True
    return False


def hear_hangup() -> asyncio.Event:
    """Set by the signal, from now on."""
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    return hangup


async def reload_at_hangup(
    hangup: asyncio.Event,
    read: Read,
    change: Change,
    say: Callable[[str], object],
    notifier: Notifier | None = None,
) -> None:
    """For as long as it runs; one reload at a time. ``notifier``: told when one begins and ends."""
    notifier = notifier or Notifier({})
    while await hangup.wait():
        hangup.clear()
        notifier.reloading()
        try:
            settings, warnings = await asyncio.to_thread(read)
            done = await change(settings)
        except ConfigError as error:
            for line in str(error).splitlines():
                say(f"not reloaded: {line}")
        except Exception:  # noqa: BLE001  # a fault of ours must not make this the last reload
            _log.exception("not reloaded, by a fault of ours")
        else:
            for warning in warnings:
                say(f"warning: {warning}")
            say(f"reloaded: {done}")
        notifier.ready()


async def change_server(server: Server, settings: ServeSettings) -> str:
    """For a server that is this process."""
    making = asyncio.get_running_loop().run_in_executor(None, server.prepare, settings, KEPT)
    try:
        reload = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_abandon)
        raise
    ended = server.switch(reload)
    logging.getLogger().setLevel(logging.INFO if settings.verbose else logging.WARNING)
    return _told(ended, reload.kept)


def _abandon(made: "asyncio.Future[Reload]") -> None:
    """What a thread has made for a server that meanwhile stops."""
    if not made.cancelled() and made.exception() is None:
        made.result().abandon()


async def change_workers(supervisor: "Supervisor", settings: ServeSettings) -> str:
    """For several."""
    kept, ended = await supervisor.reload(settings, {*KEPT, "verbose"})
    return _told(ended, kept)


def _told(ended: int, kept: Sequence[str]) -> str:
    done = f"{ended} session{'' if ended == 1 else 's'} ended" if ended else "no session had to end"
    return f"{done}; {', '.join(kept)}: as before, until the next start" if kept else done
