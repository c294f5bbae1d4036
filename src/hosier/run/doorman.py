"""A thread that lives inside: it opens sockets there, for the gateway, which lives outside."""

import threading
from queue import SimpleQueue
from socket import SocketType

from . import kernel
from .doors import flow_socket
from .packets import HostAndPort

__all__ = ("Doorman",)


class Doorman:
    """``open()`` waits for the thread, which does nothing else."""

    def __init__(self, network: int) -> None:
        """``network``: a descriptor of the namespace; it must stay open."""
        self._wishes: SimpleQueue[tuple[HostAndPort, HostAndPort, int] | None] = SimpleQueue()
        self._opened: SimpleQueue[SocketType | OSError] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(network,), name="hosier-doorman", daemon=True)
        self._thread.start()

    def open(self, place: HostAndPort, peer: HostAndPort, buffer: int) -> SocketType:
        """As :func:`flow_socket`. Raises OSError."""
        self._wishes.put((place, peer, buffer))
        opened = self._opened.get()
        if isinstance(opened, OSError):
            raise opened
        return opened

    def close(self) -> None:
        """Ends the thread."""
        self._wishes.put(None)
        self._thread.join()

    # --- the thread ---

    def _work(self, network: int) -> None:
        refused: OSError | None = None
        try:
            kernel.setns(network, kernel.CLONE_NEWNET)
        except OSError as error:
            refused = error
        while (wish := self._wishes.get()) is not None:
            try:
                self._opened.put(refused or flow_socket(*wish))
            except OSError as error:
                self._opened.put(error)
