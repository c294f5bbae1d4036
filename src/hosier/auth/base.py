"""What an authentication method is to Hosier, whoever wrote it."""

from collections.abc import Awaitable
from typing import Any, Protocol

from ..protocol.auth.base import AuthFraming, AuthStep
from ..protocol.client_connection import ClientExchange

__all__ = ("Method", "ServerExchange", "is_guessable")


class ServerExchange(Protocol):
    """The server's half of one conversation; one object per connection, unless it keeps nothing between steps."""

    def step(self, message: Any) -> AuthStep | Awaitable[AuthStep]:
        """Our next step. ``message`` is the client's, None if the method lets the server begin.

        Work that takes time is returned as an awaitable, which runs in an asyncio task of its own: nothing here may
        block. A step with an outcome ends the conversation; an outcome without identity refuses.
        """


class Method(Protocol):
    """One method, both roles; the same object serves all connections.

    A package of its own brings one to ``hosier serve --method NAME`` by an entry point in the group
    ``hosier.methods``: its name is the method's, its value a callable without arguments that returns this.

    It may have one attribute more, ``guessable = False``: see ``is_guessable``.
    """

    name: str
    """How it is called in settings and logs."""

    framing: AuthFraming
    """The wire half, with the method's number."""

    def server_exchange(self) -> ServerExchange: ...

    def client_exchange(self) -> ClientExchange: ...


def is_guessable(method: Method) -> bool:
    """Whether who fails to prove an identity may be guessing: then it must wait, and with it whoever else comes from
    its address.

    A method that says nothing is taken to be like passwords. One whose proofs are keys or tickets says no: waiting
    keeps no thief out, but one client with an expired ticket would keep all its neighbours out.
    """
    answer: bool = getattr(method, "guessable", True)
    return answer
