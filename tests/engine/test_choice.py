from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

import pytest

from hosier.engine.choice import ENGINES, make_engine
from hosier.engine.poller import Engine
from hosier.engine.portable import PortableEngine

from ..bare import BareLoop


def chosen(name: str, loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> type[Engine]:
    async def main() -> type[Engine]:
        engine = make_engine(name, held_limit=12345)
        try:
            assert engine.loop is asyncio.get_running_loop()
            assert engine.held_limit == engine.room == 12345
            return type(engine)
        finally:
            engine.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


def test_names() -> None:
    assert ENGINES == ("auto", "epoll", "portable")


@pytest.mark.parametrize(("name", "kind"), [("auto", Engine), ("epoll", Engine), ("portable", PortableEngine)])
def test_by_name(name: str, kind: type[Engine]) -> None:
    assert chosen(name) is kind


def test_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    assert chosen("auto") is PortableEngine


def test_in_a_loop_that_watches_no_descriptors() -> None:
    assert chosen("auto", BareLoop) is PortableEngine
    with pytest.raises(NotImplementedError):
        chosen("epoll", BareLoop)


def test_in_a_given_loop() -> None:
    loop = asyncio.new_event_loop()
    for name in ENGINES:
        engine = make_engine(name, loop)
        assert engine.loop is loop
        engine.close()
    loop.close()
