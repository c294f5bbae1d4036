"""What a user's tests may look like, with every public name of ``hosier.testing``: mypy --strict reads it."""

from __future__ import annotations

from collections.abc import Sequence

from hosier import testing
from hosier.testing import Conversation, ScriptedServer, Step, ThreadedServer

SCRIPT: Sequence[Step] = [
    testing.receive_greeting(),
    testing.send(b"\x05\x02", octet_by_octet=True),
    testing.receive_credentials(),
    testing.receive(2),
    testing.receive_request(),
    testing.stall(),
    testing.reset(),
]


def own_step(conversation: Conversation) -> None:
    conversation.more()
    conversation.take(len(conversation.pending))


def awkward() -> bytes:
    with ScriptedServer(SCRIPT, [own_step], host="::1") as server:
        host, port = server.address
        return f"{server.url} {host} {port}".encode() + server.received


def real() -> list[str]:
    with ThreadedServer(users={"ann": "secret"}) as server:
        return [str(record) for record in server.records] + [server.url]


def pieces(data: bytes) -> list[tuple[bytes, ...]]:
    return list(testing.every_cut(data))


PARTS = (
    testing.ConnectionPair,
    testing.ToyClientExchange,
    testing.ToyFraming,
    testing.ToyKind,
    testing.ToyLayer,
    testing.ToyMessage,
    testing.ToyServerExchange,
)
