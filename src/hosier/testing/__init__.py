"""Helpers for tests of programs that use or extend Hosier: no secrets, nothing third-party unless pytest asks for it.

:class:`ThreadedServer` loads the server when it is first used; fixtures for pytest are in ``hosier.testing.fixtures``.
"""

from typing import TYPE_CHECKING, Any

from .cuts import every_cut
from .pair import ConnectionPair
from .scripted import (
    Conversation,
    ScriptedServer,
    Step,
    receive,
    receive_credentials,
    receive_greeting,
    receive_request,
    reset,
    send,
    stall,
)
from .toy import (
    ToyClientExchange,
    ToyFraming,
    ToyKind,
    ToyLayer,
    ToyMessage,
    ToyServerExchange,
)

if TYPE_CHECKING:
    from .threaded import ThreadedServer

__all__ = (
    "ConnectionPair",
    "Conversation",
    "ScriptedServer",
    "Step",
    "ThreadedServer",
    "ToyClientExchange",
    "ToyFraming",
    "ToyKind",
    "ToyLayer",
    "ToyMessage",
    "ToyServerExchange",
    "every_cut",
    "receive",
    "receive_credentials",
    "receive_greeting",
    "receive_request",
    "reset",
    "send",
    "stall",
)


def __getattr__(name: str) -> Any:
    if name == "ThreadedServer":
        from .threaded import ThreadedServer

        return ThreadedServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
