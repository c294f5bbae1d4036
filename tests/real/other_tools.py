"""Other tools that lead programs through a proxy, and what became of the same list of programs with each.

``OUTCOMES`` is what the tests find; the table in README.md and docs/run.md is made of it.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .bed import ANYWHERE
from .harness import Address

Program = Callable[..., str]

WORKS: Final = "works"
FAILS: Final = "fails"
PAST: Final = "goes past the proxy"
PARTLY: Final = "works, asks the name server past the proxy"

TOOLS: Final = ("proxychains4", "torsocks")

OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    # A program of run_programs.py, and what became of it with each of the tools; with `hosier run` all of them work.
    "curl": (WORKS, WORKS),
    "curl (https)": (WORKS, WORKS),
    "git (http)": (WORKS, WORKS),
    "git (https)": (WORKS, WORKS),
    "git (ssh)": (WORKS, WORKS),
    "ssh": (WORKS, WORKS),
    "Go, static": (PAST, PAST),
    "Python": (WORKS, WORKS),
    "Node": (WORKS, WORKS),
    "apt-get": (PARTLY, PARTLY),
    "pip": (WORKS, WORKS),
    "dig": (PAST, FAILS),
    "Chromium": (FAILS, FAILS),
    "HTTP/3": (PAST, FAILS),
    "UDP": (PAST, FAILS),
    "IPv6": (WORKS, FAILS),
    "a refusal": (WORKS, WORKS),
}
"""A refusal works if the program is told that the target has refused."""

_LINES: Final[Mapping[str, Sequence[str]]] = {
    "curl, git over http, https and ssh, ssh": (
        *("curl", "curl (https)", "git (http)", "git (https)", "git (ssh)", "ssh"),
    ),
    "Python, Node, pip": ("Python", "Node", "pip"),
    "apt-get": ("apt-get",),
    "a static Go program": ("Go, static",),
    "dig": ("dig",),
    "headless Chromium, in its own sandbox": ("Chromium",),
    "HTTP/3 (aioquic)": ("HTTP/3",),
    "a datagram to an address": ("UDP",),
    "a connection to an IPv6 address": ("IPv6",),
    "a refusal is told as one": ("a refusal",),
}


def comparison() -> str:
    """The table for the pages."""
    assert {name for names in _LINES.values() for name in names} == OUTCOMES.keys()
    lines = [f"| program | `hosier run` | {' | '.join(TOOLS)} |", "|---|---|" + "---|" * len(TOOLS)]
    for title, names in _LINES.items():
        (outcomes,) = {OUTCOMES[name] for name in names}  # a line says one thing
        lines.append(f"| {title} | {WORKS} | {' | '.join(outcomes)} |")
    return "\n".join(lines) + "\n"


def outcome(works: bool, through: bool, went_past: bool) -> str:
    """What to call it, if a program got what it wanted, got it through the proxy, or sent something past it."""
    if through:
        return PARTLY if went_past else WORKS
    return PAST if works or went_past else FAILS


def prefix_of(tool: str, program: Program, proxy: Address, folder: Path) -> list[str]:
    """The beginning of a command that the tool leads to the proxy."""
    config = folder / f"{tool}.conf"
    if tool == "proxychains4":
        config.write_text(f"strict_chain\nproxy_dns\nquiet_mode\n[ProxyList]\nsocks5 {proxy.host} {proxy.port}\n")
        return [program("proxychains4"), "-f", str(config)]
    config.write_text(f"TorAddress {proxy.host}\nTorPort {proxy.port}\nEnableIPv6 1\n")
    return ["env", f"TORSOCKS_CONF_FILE={config}", program("torsocks"), "--quiet"]


@contextmanager
def beside_tor(proxy: Address) -> Iterator[Address]:
    """A proxy before the proxy that also looks names up, as Tor does (EX-10), because torsocks asks for that."""
    with _Front(("127.0.0.1", 0), _Conversation) as front:
        front.proxy = proxy
        thread = threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Address("127.0.0.1", int(front.server_address[1]))
        finally:
            front.shutdown()
            thread.join(10)


class _Front(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: Address


class _Conversation(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Front

    def handle(self) -> None:
        greeting = self._exactly(2)
        greeting += self._exactly(greeting[1])
        self.request.sendall(b"\x05\x00")
        head = self._exactly(4)
        match head[3]:
            case 1:
                address = self._exactly(4)
            case 3:
                length = self._exactly(1)
                address = length + self._exactly(length[0])
            case _:
                address = self._exactly(16)
        whole = head + address + self._exactly(2)
        if head[1] == 0xF0:
            self.request.sendall(_looked_up(address[1:].decode()))
            return
        with socket.create_connection(self.server.proxy) as far:
            far.sendall(b"\x05\x01\x00")
            assert far.recv(2) == b"\x05\x00"
            far.sendall(whole)
            back = threading.Thread(target=_pass_on, args=(far, self.request), daemon=True)
            back.start()
            _pass_on(self.request, far)
            back.join(30)

    def _exactly(self, size: int) -> bytes:
        data = self.request.recv(size, socket.MSG_WAITALL) if size else b""
        if len(data) < size:
            raise ConnectionAbortedError
        return data


def _looked_up(name: str) -> bytes:
    """The reply to RESOLVE. A literal stands for itself, as with Tor."""
    text = ANYWHERE[0] if name == "four.test" else name
    for kind, family in ((b"\x01", socket.AF_INET), (b"\x04", socket.AF_INET6)):
        with suppress(OSError):
            return b"\x05\x00\x00" + kind + socket.inet_pton(family, text) + bytes(2)
    return b"\x05\x04\x00\x01" + bytes(6)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
