"""The limit in Python: the least that makes the engine's system calls for a short session. A baseline, not a product.

It speaks SOCKS5 without authentication to IPv4 addresses, and believes that every message comes whole, that all that is
sent is taken, and that nobody fails: no check, no clock, no bound, no word. What a Python server costs beyond it is the
price of its features; what it costs beyond ``limit.c`` is Python's. `python benchmarks/python_limit.py PORT`
"""

import gc
import select
import socket
import sys
from _socket import socket as Socket
from collections.abc import Callable
from contextlib import suppress

EDGES = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
MESSAGE = 4096
CHUNK = 65536

Handler = Callable[[int], None]  # of the edges that were seen

epoll = select.epoll()
handlers: dict[int, Handler] = {}
buffer = bytearray(CHUNK)
view = memoryview(buffer)


def watch(sock: Socket, edges: int, handler: Handler) -> None:
    handlers[sock.fileno()] = handler
    epoll.register(sock.fileno(), edges)


def close(*socks: Socket) -> None:
    for sock in socks:
        del handlers[sock.fileno()]
        sock.close()


class Session:
    __slots__ = ("client", "ended", "place", "step", "target")

    def __init__(self, client: Socket) -> None:
        self.client, self.ended = client, False
        self.step: Handler = self.greet
        watch(client, EDGES, self.on_client)
        self.on_client(select.EPOLLIN)

    def on_client(self, edges: int) -> None:
        with suppress(BlockingIOError):
            self.step(edges)

    def greet(self, edges: int) -> None:
        if not self.client.recv(MESSAGE):
            close(self.client)
            return
        self.client.send(b"\x05\x00")
        self.step = self.request
        self.request(edges)

    def request(self, edges: int) -> None:
        request = self.client.recv(MESSAGE)
        if not request:
            close(self.client)
            return
        self.place = socket.inet_ntoa(request[4:8]), int.from_bytes(request[8:10], "big")
        self.target = Socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.target.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.target.connect_ex(self.place)
        self.step = self.wait
        watch(self.target, EDGES | select.EPOLLOUT, self.on_target)

    def wait(self, edges: int) -> None:
        """The client has nothing to say before the reply."""

    def on_target(self, edges: int) -> None:
        if self.step == self.wait:
            self.target.connect_ex(self.place)
            host, port = self.target.getsockname()
            self.client.send(b"\x05\x00\x00\x01" + socket.inet_aton(host) + port.to_bytes(2, "big"))
            self.step = self.up
        if edges & select.EPOLLIN:
            self.relay(self.target, self.client, edges)

    def up(self, edges: int) -> None:
        self.relay(self.client, self.target, edges)

    def relay(self, source: Socket, sink: Socket, edges: int) -> None:
        try:
            while got := source.recv_into(buffer):
                sink.send(view[:got])
                if not edges & select.EPOLLRDHUP:
                    return
        except BlockingIOError:
            return
        if self.ended:
            close(source, sink)
        else:
            self.ended = True
            sink.shutdown(socket.SHUT_WR)


def listen(port: int) -> None:
    listener = socket.socket()
    for level, option in (
        (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.SOL_SOCKET, socket.SO_OOBINLINE),
        (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT),
    ):
        listener.setsockopt(level, option, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(socket.SOMAXCONN)
    listener.setblocking(False)
    epoll.register(listener.fileno(), EDGES)
    accept = listener._accept  # type: ignore[attr-defined]  # socket.accept() makes enums

    def on_listener(edges: int) -> None:
        with suppress(BlockingIOError):
            while True:
                descriptor, _ = accept()
                Session(Socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor))

    handlers[listener.fileno()] = on_listener


def main() -> None:
    socket.setdefaulttimeout(0)
    listen(int(sys.argv[1]))
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    while True:
        for descriptor, edges in epoll.poll():
            if handler := handlers.get(descriptor):
                handler(edges)


if __name__ == "__main__":
    main()
