"""A real Hosier server beside a test that has no event loop of its own."""

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from ..observe.record import SessionRecord
from ..server.server import Server

__all__ = ("ThreadedServer",)


class ThreadedServer:
    """:class:`hosier.Server` in a thread, for the time of a with-block: on a free port of 127.0.0.1, unless told
    otherwise. ``records`` has each session when it has ended."""

    def __init__(self, **fields: Any) -> None:  # the fields of ServerSettings, whose types are there
        self._fields = {"listen": ["127.0.0.1:0"], **fields}
        self.records: list[SessionRecord] = []
        self.address: tuple[str, int]
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="hosier server", daemon=True)

    @property
    def url(self) -> str:
        """For a client that takes a proxy's URL."""
        host, port = self.address
        return f"socks5h://{f'[{host}]' if ':' in host else host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Server(on_session_end=self.records.append, **self._fields) as server:
            self.address = server.addresses[0].host, server.addresses[0].port
            self._ready.set()
            await self._stop.wait()
