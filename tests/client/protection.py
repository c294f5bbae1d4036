"""GSSAPI for the client's tests without a realm: the toy method, which has its number, rounds and frames."""

from __future__ import annotations

from typing import Any

import pytest

from hosier.client.layered import LayeredStream
from hosier.protocol.auth.base import AuthFraming
from hosier.protocol.client_connection import ClientMethod
from hosier.protocol.connection import Handoff
from hosier.testing import ToyClientExchange, ToyFraming, ToyLayer, ToyServerExchange

NOTHING = Handoff(b"", b"", None)


class ToyMethod:
    """What the server takes for Kerberos."""

    name: str = "gssapi"

    def __init__(self) -> None:
        self.framing: AuthFraming = ToyFraming()

    def server_exchange(self) -> ToyServerExchange:
        return ToyServerExchange()


def play_with_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has both sides use the toy where they would use Kerberos."""

    def client(*_: Any, **__: Any) -> ClientMethod:
        return ClientMethod(ToyFraming(), ToyClientExchange, blocks=True)

    monkeypatch.setattr("hosier.server.terms.gssapi_method", lambda _: ToyMethod())
    monkeypatch.setattr("hosier.client.gssapi.initiator_method", client)


def toy_stream(handoff: Handoff = NOTHING, below: LayeredStream | None = None) -> LayeredStream:
    return LayeredStream(ToyLayer(), handoff, below)


def frame(data: bytes) -> bytes:
    return ToyLayer().wrap(data)
