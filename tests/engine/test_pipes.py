from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hosier.engine.pipes import Pipe, PipePool

from .harness import descriptors


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


def refusing(error: int, command: int | None = None) -> Callable[..., Any]:
    """An fcntl that fails, for one command or for all."""
    real = fcntl.fcntl

    def refuse(fd: int, asked: int, *rest: Any) -> Any:
        if command is None or asked == command:
            raise OSError(error, os.strerror(error))
        return real(fd, asked, *rest)

    return refuse


def no_descriptors(flags: int) -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def fill(pipe: Pipe) -> int:
    """How much it takes, one page at a time."""
    size = 0
    page = bytes(4096)
    while True:
        try:
            size += os.write(pipe.write_fd, page)
        except BlockingIOError:
            return size


def test_capacity_is_the_kernels() -> None:
    pipe = Pipe()
    assert pipe.capacity == fcntl.fcntl(pipe.read_fd, fcntl.F_GETPIPE_SZ)
    assert fill(pipe) == pipe.capacity
    pipe.close()


def test_descriptors_do_not_block_and_are_not_inherited() -> None:
    pipe = Pipe()
    for fd in (pipe.read_fd, pipe.write_fd):
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_fd, 1)
    pipe.close()


@pytest.mark.parametrize("error", [errno.EPERM, errno.EBUSY])
def test_small_pipe_where_a_large_one_is_refused(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    monkeypatch.setattr(fcntl, "fcntl", refusing(error, fcntl.F_SETPIPE_SZ))
    pipe = Pipe()
    assert pipe.capacity == fcntl.fcntl(pipe.write_fd, fcntl.F_GETPIPE_SZ) > 0
    assert fill(pipe) == pipe.capacity
    pipe.close()


def test_no_descriptors_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PipePool()
    monkeypatch.setattr(os, "pipe2", no_descriptors)
    assert pool.take() is None
    assert pool.open == 0
    monkeypatch.undo()
    pipe = pool.take()
    assert pipe is not None
    assert pool.open == 1
    pool.discard(pipe)


def taken(pool: PipePool, count: int) -> list[Pipe]:
    pipes = [pipe for _ in range(count) if (pipe := pool.take()) is not None]
    assert len(pipes) == count
    return pipes


def test_given_pipe_is_taken_again() -> None:
    pool = PipePool()
    (pipe,) = taken(pool, 1)
    pool.give(pipe)
    assert pool.open == 1
    assert pool.take() is pipe
    assert pool.open == 1
    pool.discard(pipe)
    assert pool.open == 0


def test_pipe_that_may_hold_octets_never_comes_back() -> None:
    pool = PipePool()
    (pipe,) = taken(pool, 1)
    os.write(pipe.write_fd, b"a stranger's")
    pool.discard(pipe)
    (other,) = taken(pool, 1)
    assert other is not pipe
    with pytest.raises(BlockingIOError):
        os.read(other.read_fd, 1)
    pool.discard(other)


def test_every_taken_pipe_is_another() -> None:
    pool = PipePool(keep=2)
    for _ in range(2):
        pipes = taken(pool, 5)
        assert len({fd for pipe in pipes for fd in (pipe.read_fd, pipe.write_fd)}) == 10
        for pipe in pipes:
            pool.give(pipe)
    pool.close()


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_keeps_a_bounded_number(keep: int) -> None:
    pool = PipePool(keep)
    pipes = taken(pool, 5)
    assert pool.open == 5
    for pipe in pipes:
        pool.give(pipe)
    assert pool.open == keep
    pool.close()
    assert pool.open == 0


def test_close_leaves_the_held_ones_to_their_holders() -> None:
    pool = PipePool()
    held, idle = taken(pool, 2)
    pool.give(idle)
    pool.close()
    assert pool.open == 1
    os.write(held.write_fd, b"x")
    assert os.read(held.read_fd, 1) == b"x"
    pool.discard(held)
    assert pool.open == 0
    pool.close()
