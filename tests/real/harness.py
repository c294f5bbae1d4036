"""A running `hosier serve`, and small helpers to wait for things and to run programs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from ..own_ports import own_ports

READY = re.compile(r"hosier: listening on (?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+) \(")

# How long to wait for something that should happen at once. Only a hang ever waits that long.
PATIENCE = 30.0

ROOT = Path(__file__).parents[2]

Session = Mapping[str, Any]


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def command(*arguments: str) -> list[str]:
    """`hosier ARGUMENTS` from the environment that runs the tests."""
    return [str(Path(sys.executable).with_name("hosier")), *arguments]


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Look again and again until the condition holds; fail, saying what was awaited, when it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain: {what}")
        time.sleep(0.01)


def run(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    data: bytes = b"",
    status: int | None = 0,
    patience: float = PATIENCE,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, with `data` as its standard input, and check its exit status (None: any)."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        input=data,
        capture_output=True,
        env={**clean_environment(), **(env or {})},
        cwd=cwd,
        timeout=patience,
        check=False,
    )
    if status is not None and done.returncode != status:
        raise AssertionError(
            f"{' '.join(map(str, arguments))}\nended with status {done.returncode}, not {status}\n"
            f"its output: {done.stdout[-2000:]!r}\nits messages: {done.stderr[-4000:].decode(errors='replace')}"
        )
    return done


def clean_environment() -> dict[str, str]:
    """The environment without the settings that would lead a client round the server under test."""
    ignored = {"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "ssh_auth_sock"}
    return {name: value for name, value in os.environ.items() if name.lower() not in ignored}


def has_ipv6() -> bool:
    """Whether this machine has the IPv6 loopback address."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def localhost() -> str:
    """The address that a server takes for the name localhost: the first one that the machine finds."""
    return str(socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)[0][4][0])


def free_port() -> int:
    """A port that is free on 127.0.0.1 and ::1, from the range that the kernel does not hand out by itself."""
    for port in own_ports():
        try:
            with socket.create_server(("127.0.0.1", port)):
                if not has_ipv6():
                    return port
                with socket.create_server(("::1", port), family=socket.AF_INET6):
                    return port
        except OSError:
            continue
    raise AssertionError("no free port")


def stop(process: subprocess.Popen[Any], patience: float = PATIENCE) -> int:
    """End a process this test started: politely, then, when it does not listen, for good."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"{process.args!r} did not end within {patience:g} s of SIGTERM") from None


def end_program(process: subprocess.Popen[Any]) -> None:
    """End a program that is not ours. It is asked again each second, for some (ssh) overlook a signal that comes just
    before they wait, and killed when it never listens: how it ends is not what a test is about."""
    for _ in range(int(PATIENCE)):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


class Hosier:
    """A `hosier serve` on free ports. Leaving the with-block ends it and checks that it ended well."""

    def __init__(
        self,
        *arguments: str,
        listen: Sequence[str] = ("127.0.0.1:0",),
        listeners: int | None = None,
        env: Mapping[str, str] | None = None,
        keep: int = 10_000,
        engine: str = "auto",
        before: Sequence[str] = (),
    ) -> None:
        """``before`` stands before the command. ``engine``: as the option has it, "bare" (see ``tests.bare``), or
        "workers": two of them."""
        told = ["serve", *(f"--listen={spec}" for spec in listen), "--log=json", *arguments]
        self.cwd = ROOT if engine == "bare" else None
        if engine == "bare":
            self.arguments = [sys.executable, "-m", "tests.bare", *told]
        else:
            self.arguments = command(*told, "--workers=2" if engine == "workers" else f"--engine={engine}")
        self.arguments = [*before, *self.arguments]
        self.listeners = len(listen) if listeners is None else listeners
        self.env = {**os.environ, **(env or {})}
        self.addresses: list[Address] = []
        self.logged = 0  # how many sessions the access log has had; only the last `keep` are kept
        self._sessions: deque[Session] = deque(maxlen=keep)
        self._messages: list[str] = []

    def __enter__(self) -> Hosier:
        self.process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=self.env,
            cwd=self.cwd,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._on_access), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._on_message), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            wait_until(lambda: len(self.addresses) == self.listeners or not self._readers[1].is_alive(), "ready lines")
            if len(self.addresses) != self.listeners:
                raise AssertionError(f"the server did not come up:\n{self.messages}")
        except BaseException:
            self.process.kill()
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            status = stop(self.process)
        except AssertionError:
            if kind is None:
                raise
        finally:
            self._end()
            if kind is not None:
                print(f"the server's messages:\n{self.messages}", file=sys.stderr)
        if kind is None:
            assert status == 0, f"the server ended with status {status}:\n{self.messages}"
            assert "Traceback" not in self.messages, self.messages

    def _end(self) -> None:
        self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self, pipe: IO[str], take: Callable[[str], None]) -> None:
        for line in pipe:
            take(line)

    def _on_access(self, line: str) -> None:
        self._sessions.append(json.loads(line))
        self.logged += 1  # last: whoever has waited for the count looks for the session

    def _on_message(self, line: str) -> None:
        self._messages.append(line)
        if found := READY.match(line):
            self.addresses.append(Address(found[1] or found[2], int(found[3])))

    @property
    def address(self) -> Address:
        return self.addresses[0]

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def messages(self) -> str:
        return "".join(self._messages)

    def sessions(self, target: str, version: int, count: int | Sized = 1) -> list[Session]:
        """Wait until the access log has this many sessions to the target; all must be of this version.

        Given the list of the target's connections, there must be one session for each: no way round the server.
        """

        def matching() -> list[Session]:
            return [session for session in list(self._sessions) if session["target"] == target]

        def expected() -> int:
            return count if isinstance(count, int) else len(count)

        try:
            wait_until(lambda: matching() and len(matching()) >= expected(), "sessions in the access log")
            found = matching()
            assert len(found) == expected()
        except AssertionError as error:
            log = "\n".join(map(str, self._sessions))
            raise AssertionError(f"{expected()} sessions to {target}? {error}\n{log}\n{self.messages}") from None
        assert {str(session["version"])[-1] for session in found} == {str(version)}, found
        return found

    def sessions_of(self, command: str, count: int) -> list[Session]:
        """Wait until the access log has this many sessions with the command; there must not be more."""

        def matching() -> list[Session]:
            return [session for session in list(self._sessions) if session["command"] == command]

        try:
            wait_until(lambda: len(matching()) >= count, f"{count} sessions with {command} in the access log")
        except AssertionError as error:
            log = "\n".join(map(str, self._sessions))
            raise AssertionError(f"{error}\n{log}\n{self.messages}") from None
        found = matching()
        assert len(found) == count, found
        return found
