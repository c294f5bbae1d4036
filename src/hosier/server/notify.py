"""What systemd, or whatever else started us, is told of our state (sd_notify(3)): ready, reloading, stopping, alive."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Final

__all__ = ("Notifier",)

_MICROSECONDS: Final = 1e-6


class Notifier:
    """Sends datagrams to the socket that the environment names; without one, it does nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._place = environment.get("NOTIFY_SOCKET", "")
        if not self._place.startswith(("/", "@")):
            self._place = ""
        self._patience = _watchdog_seconds(environment) if self._place else None
        self._is_stopping = False

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to hear that we live."""
        return self._patience is not None

    def ready(self, status: str = "") -> None:
        """We serve. Also after a reload; but who has said that it stops does not take it back."""
        if not self._is_stopping:
            self._tell("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """We read the configuration anew; ``ready`` tells when that is over."""
        if not self._is_stopping:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._is_stopping = True
        self._tell("STOPPING=1")

    async def watch(self, is_alive: Callable[[], bool]) -> None:
        """Says that we live, twice as often as somebody wants to hear it, as long as it is true. Returns at once if
        nobody does."""
        if self._patience is None:
            return
        while True:
            if is_alive():
                self._tell("WATCHDOG=1")
            await asyncio.sleep(self._patience / 2)

    def _tell(self, *lines: str) -> None:
        if not self._place:
            return
        place = f"\0{self._place[1:]}" if self._place.startswith("@") else self._place
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto("\n".join(lines).encode(), place)
            except OSError:
                return  # whoever wanted to know is gone; we serve all the same


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """How long the watchdog waits, if it is us whom it watches."""
    wanted, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or int(wanted) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(wanted) * _MICROSECONDS
