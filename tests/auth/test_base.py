"""The built-in method has the shape that every method has, and goes through the seam with nothing else known of it.

The example package does the same in test_private_method.py.
"""

from inspect import isawaitable

from hosier.auth.base import Method, ServerExchange, is_guessable
from hosier.auth.passwords import PasswordMethod
from hosier.auth.users import FixedUsers
from hosier.protocol.auth.base import AuthStep
from hosier.protocol.auth.password import Credentials
from hosier.protocol.client_connection import ClientExchange


def identities(method: Method) -> tuple[str | None, str | None]:
    """Who the client turns out to be, for itself and for the server: the whole seam, framing included."""
    client: ClientExchange = method.client_exchange()
    server: ServerExchange = method.server_exchange()
    message = None
    known: str | None = None
    while True:
        step = client.step(message)
        if step.outcome is not None:
            return step.outcome.identity, known
        wire = method.framing.encode(step.body, from_client=True)
        decoded = method.framing.decode(wire, from_client=True)
        assert decoded is not None
        assert decoded[1] == len(wire)
        answer = server.step(decoded[0])
        assert not isawaitable(answer)
        known = answer.outcome.identity if answer.outcome is not None else known
        wire = method.framing.encode(answer.body, from_client=False)
        found = method.framing.decode(wire, from_client=False)
        assert found is not None
        message = found[0]


def test_password() -> None:
    method: Method = PasswordMethod(FixedUsers({b"ann": b"secret"}), Credentials(b"ann", b"secret"))
    assert method.name == "password"
    assert identities(method) == ("ann", "ann")
    refused: Method = PasswordMethod(FixedUsers({b"ann": b"secret"}), Credentials(b"ann", b"guess"))
    assert identities(refused) == (None, None)


def test_one_object_serves_many() -> None:
    """Conversations side by side know nothing of each other."""
    method: Method = PasswordMethod(FixedUsers({b"ann": b"secret", b"bob": b"word"}), Credentials(b"ann", b"secret"))
    exchanges = [method.server_exchange() for _ in range(3)]
    steps = [
        exchange.step(Credentials(*login))
        for exchange, login in zip(exchanges, ((b"ann", b"secret"), (b"ann", b"word"), (b"bob", b"word")), strict=True)
    ]
    assert [step.outcome and step.outcome.identity for step in steps if isinstance(step, AuthStep)] == [
        *("ann", None, "bob")
    ]
    assert method.client_exchange() is not method.client_exchange()


def test_what_can_be_guessed() -> None:
    """A method that says nothing is like passwords."""

    class Keys(PasswordMethod):
        guessable = False

    assert is_guessable(PasswordMethod(FixedUsers({})))
    assert not is_guessable(Keys(FixedUsers({})))
