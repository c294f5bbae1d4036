"""Ways to targets for the tests of the gateway: straight to a server of theirs, or to an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hosier.client.names import FakeNames
from hosier.engine.egress import DirectEgress
from hosier.engine.poller import Engine
from hosier.engine.resolve import Resolver
from hosier.protocol.address import Address, parse_address
from hosier.run.ways import Ways


class ScriptedEgress:
    """``choose(target)`` tells where a target really is, or raises; what was asked for is kept."""

    def __init__(self, engine: Engine, choose: Callable[[Address], Address]) -> None:
        self._direct = DirectEgress(engine, Resolver(asyncio.get_running_loop()))
        self._choose = choose
        self.asked: list[str] = []

    async def connect(self, task: Any, target: Address, vet: Any, sources: Any = None) -> Any:
        self.asked.append(str(target))
        return await self._direct.connect(task, self._choose(target), vet)

    async def bind(self, task: Any, peer: Address, near: Address, vet: Any, sources: Any = None) -> Any:
        raise NotImplementedError

    async def associate(self, task: Any, correspondent: Any, *, buffer: int) -> Any:
        through = _Disguise(correspondent)
        association = await self._direct.associate(task, through, buffer=buffer)
        return _Association(association, through, self)

    def really(self, target: Address) -> Address:
        self.asked.append(str(target))
        return self._choose(target)


class _Disguise:
    """A correspondent who hears that all comes from the target that was asked for."""

    def __init__(self, correspondent: Any) -> None:
        self._correspondent = correspondent
        self.sent = correspondent.sent
        self.received = correspondent.received
        self.target: Address | None = None

    def from_targets(self, views: Any, sizes: Any, sockaddrs: Any) -> None:
        assert self.target is not None
        self._correspondent.from_targets(views, sizes, [self.target.sockaddr] * len(sizes))

    def joined_from_target(self, cut: Any, octets: int, _: Any) -> bool:
        assert self.target is not None
        return bool(self._correspondent.joined_from_target(cut, octets, self.target.sockaddr))

    def reached(self, host: str, port: int) -> None:
        pass


class _Association:
    def __init__(self, association: Any, through: _Disguise, egress: ScriptedEgress) -> None:
        self._association = association
        self._through = through
        self._egress = egress

    def lane(self, target: Address, vet: Any) -> Any:
        self._through.target = target
        return self._association.lane(self._egress.really(target), vet)

    def close(self) -> None:
        self._association.close()


def ways_of(egress: ScriptedEgress, names: FakeNames | None = None) -> Ways:
    return Ways(FakeNames() if names is None else names, egress, egress, (), shared_loopback=False)


def place(sockname: Any) -> Address:
    return parse_address(sockname[0], sockname[1])
