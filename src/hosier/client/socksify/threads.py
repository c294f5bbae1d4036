"""Ways that only blocking calls can make, for who is in a loop: in threads of ours, since a proxy that does not answer
would otherwise hold up all that the program's own executor is for, and its end."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from .scope import carried

__all__ = ("in_thread",)

MOST: Final = 64
"""Ways at a time; more of them wait for their turn."""


class _Closable(Protocol):
    def close(self) -> None: ...


MadeT = TypeVar("MadeT", bound=_Closable)

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class _Threads:
    """As many as there are ways to be made, up to a bound; they end when there are none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._running = 0

    def do(self, job: _Job) -> None:
        with self._lock:
            self._jobs.append(job)
            if self._running == self._most:
                return
            self._running += 1
        # A daemon: the process need not wait for a proxy before it can end.
        thread = threading.Thread(target=self._work, name="hosier-way", daemon=True)
        carried(None, thread.start)()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running -= 1
                    return
                loop, future, make = self._jobs.popleft()
            if future.cancelled():
                continue
            made: Any = None
            failure: BaseException | None = None
            try:
                made = make()
            except BaseException as error:  # noqa: BLE001  # it belongs to who waits
                failure = error
            try:
                loop.call_soon_threadsafe(_tell, future, made, failure)
            except RuntimeError:  # the loop is closed: nobody waits
                _close(made)
            del future, make, made, failure  # or they live until the next one


_threads: Final = _Threads(MOST)


async def in_thread(make: Callable[..., MadeT], *arguments: Any) -> MadeT:
    """What a call makes. If who waits is cancelled, the call goes on, and what it has made then is closed; if its turn
    has not come yet, it is not made at all."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[MadeT] = loop.create_future()
    _threads.do((loop, future, lambda: make(*arguments)))
    return await future


def _tell(future: "asyncio.Future[Any]", made: Any, failure: BaseException | None) -> None:
    if future.done():
        _close(made)
    elif failure is None:
        future.set_result(made)
    else:
        future.set_exception(failure)


def _close(made: _Closable | None) -> None:
    if made is not None:
        with suppress(OSError):
            made.close()
