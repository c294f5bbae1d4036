"""What is said, and how often."""

from __future__ import annotations

import errno
import os

import pytest

from hosier.errors import Place, ProxyConnectionError, reply_error
from hosier.run.voice import MOST, Voice


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def said(pipe: tuple[int, int]) -> list[str]:
    os.close(pipe[1])
    with open(pipe[0], encoding="utf-8") as file:
        return file.read().splitlines()


def proxy_is_gone(target: str) -> ProxyConnectionError:
    error = ProxyConnectionError("cannot connect to the proxy: Connection refused")
    error.place = Place("socks5h://127.0.0.1:1080", 1, 1, "connect", target)
    return error


def test_each_line_once(pipe: tuple[int, int]) -> None:
    voice = Voice(fd=pipe[1])
    voice.say("a")
    voice.say("b")
    voice.say("a")
    assert said(pipe) == ["hosier: a", "hosier: b"]


def test_a_proxy_that_is_gone_is_told_once_whatever_the_target(pipe: tuple[int, int]) -> None:
    voice = Voice(fd=pipe[1])
    for target in ("a.example:80", "b.example:80"):
        voice.failed(proxy_is_gone(target))
    voice.failed(reply_error(5))
    assert said(pipe) == ["hosier: cannot connect to the proxy: Connection refused [socks5h://127.0.0.1:1080, connect]"]


def test_everything_to_who_asks(pipe: tuple[int, int]) -> None:
    voice = Voice(verbose=True, fd=pipe[1])
    voice.failed(proxy_is_gone("a.example:80"))
    voice.failed(reply_error(5))
    voice.failed(OSError(errno.EHOSTUNREACH, "198.18.0.9 stands for no name"))
    voice.failed(TimeoutError("no answer in time"))
    first, second, *others = said(pipe)
    assert "a.example:80" in first
    assert "refused" in second
    assert others == ["hosier: 198.18.0.9 stands for no name", "hosier: no answer in time"]


def test_there_is_an_end(pipe: tuple[int, int]) -> None:
    voice = Voice(fd=pipe[1])
    for number in range(2 * MOST):
        voice.say(str(number))
    assert len(said(pipe)) == MOST


def test_nobody_listens_any_more(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    Voice(fd=pipe[1]).say("into the void")
    os.close(pipe[1])
