"""What the machine carries, where the system tells and where it does not."""

from __future__ import annotations

import os
import resource
import sys

import pytest

from hosier.policy.limits import SESSION_MEMORY, room_for
from hosier.server.capacity import processors, raise_descriptor_limit, room


def pretend(monkeypatch: pytest.MonkeyPatch, soft: int, memory: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 1 << 30))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": memory // 4096, "SC_PAGE_SIZE": 4096}.__getitem__)


def test_descriptors_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 20_000, 1 << 40)
    assert room() == room_for(20_000, 1 << 40)
    assert room(2) == 2 * room()


def test_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have a limit of 2^30 descriptors, and 512 MiB."""
    pretend(monkeypatch, 1 << 30, 512 << 20)
    assert room(8) == room() == (512 << 20) // SESSION_MEMORY


def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.delattr(os, "sysconf")
    unlimited = room()
    monkeypatch.setitem(sys.modules, "resource", None)
    assert room() == unlimited == room_for(8192, 1 << 30)
    raise_descriptor_limit()  # there is none: nothing to do


def test_descriptor_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *arguments: told.append(arguments))
    raise_descriptor_limit()
    assert told == [(resource.RLIMIT_NOFILE, (4096, 4096))]

    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_descriptor_limit()


def test_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that this process may use; where that cannot be asked, those that there are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    assert processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert processors() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1
