"""Work that is done in the namespace of a program, by a child of the tests."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.run.doors import Doors, open_doors, receive_doors, send_doors
from hosier.run.mounts import cover
from hosier.run.namespace import UserMaps, enter_network, enter_user_namespace


def forked(work: Callable[[], Any]) -> Any:
    """What the work returns, as JSON has it, done in a child; its failure is the test's."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            answer = {"value": work()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    answer = json.loads(said or '{"error": "the child said nothing"}')
    if "error" in answer:
        raise AssertionError(answer["error"])
    return answer["value"]


def enter(*, held: bool = True, shared_loopback: bool = False, covered: bool = False) -> tuple[bool, bool]:
    """Puts this process where a program would be, but for its own user namespace."""
    identity = UserMaps.of_this_process()
    enter_user_namespace(identity.outer, is_root=identity.is_root)
    found = enter_network(held=held, shared_loopback=shared_loopback)
    if covered:
        cover(ipv6=found[0])
    return found


@cache
def obstacle() -> str:
    """Why there are no namespaces here; empty if there are."""
    if sys.platform != "linux":
        return "not Linux"
    try:
        forked(lambda: enter())
    except (AssertionError, ConfigError) as error:
        return str(error).strip().splitlines()[-1]
    return ""


def need_namespaces() -> None:
    """Skips the test where there are none."""
    if obstacle():
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(obstacle(), pytrace=False)
        pytest.skip(obstacle())


class Inside:
    """A namespace with its doors; ``start(work)`` does work there in a child, ``result()`` is what came of it."""

    def __init__(self, *, held: bool = True, shared_loopback: bool = False) -> None:
        self._held = held
        self._shared_loopback = shared_loopback
        self._work: Callable[[], Any]

    def start(self, work: Callable[[], Any]) -> Doors:
        """The doors of the namespace in which the work waits for ``go()``."""
        ours, theirs = socket.socketpair()
        self._channel = ours
        reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            answer: dict[str, Any] = {"error": "not begun"}
            try:
                ours.close()
                os.close(reading)
                ipv6, held = enter(held=self._held, shared_loopback=self._shared_loopback)
                end, _ = os.pipe()
                send_doors(theirs, open_doors(ipv6=ipv6, held=held, end=end))
                theirs.recv(1)
                answer = {"value": work()}
            except BaseException:
                answer = {"error": traceback.format_exc()}
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        theirs.close()
        os.close(writing)
        self.reading = reading
        doors = receive_doors(ours)
        if doors is None:
            self.result()
            raise AssertionError("no doors")
        return doors

    def go(self) -> None:
        self._channel.send(b"!")

    def result(self) -> Any:
        """Waits for it."""
        with open(self.reading, encoding="utf-8") as pipe:
            answer = json.loads(pipe.read() or '{"error": "the child said nothing"}')
        os.waitpid(self._child, 0)
        self._channel.close()
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]
