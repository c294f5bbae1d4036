"""The tables: their shape, and every pair of state and input tried through the public verbs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.auth.base import AuthFraming, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status
from hosier.protocol.client_connection import ClientConnection
from hosier.protocol.connection import Connection
from hosier.protocol.messages import (
    NEED_DATA,
    PAUSED,
    AuthStep,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
    Signal,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import CLIENT, FINAL, SERVER, Input, State, Table
from hosier.testing import ToyFraming

from .deliveries import TARGET, pull

ROOT = Path(__file__).parents[2]


class ServerFirst(ToyFraming):
    """A private method in which the server begins."""

    code: int = 0x80
    server_speaks_first: bool = True


FRAMINGS: dict[int, AuthFraming] = {0x02: PasswordFraming(), 0x80: ServerFirst()}
OFFER = b"\x00\x02\x80"

# --- the shape ---


def reachable(table: Table, first: State) -> set[State]:
    seen, todo = {first}, [first]
    while todo:
        new = set(table[todo.pop()].values()) - seen
        seen |= new
        todo += new
    return seen


@pytest.mark.parametrize(("table", "first"), [(SERVER, State.AWAIT_OPENING), (CLIENT, State.SEND_OPENING)])
def test_every_state_is_reached(table: Table, first: State) -> None:
    """Nothing in a table is dead, and nothing leads out of it."""
    assert reachable(table, first) == set(table)
    assert {target for steps in table.values() for target in steps.values()} <= set(table)


@pytest.mark.parametrize("table", [SERVER, CLIENT])
def test_every_state_has_an_exit(table: Table) -> None:
    """A client has nothing to say after an error; a server may (ERROR is no final state for it)."""
    stuck = {state for state, steps in table.items() if not steps}
    assert stuck == FINAL | ({State.ERROR} if table is CLIENT else set())
    for state in set(table) - {State.ERROR} - FINAL:
        assert reachable(table, state) & FINAL


def test_every_name_is_used() -> None:
    assert {*SERVER, *CLIENT} == set(State)
    assert {symbol for table in (SERVER, CLIENT) for steps in table.values() for symbol in steps} == set(Input)
    assert all(len({*names}) == len(names) for names in ([s.value for s in State], [i.value for i in Input]))


@pytest.mark.parametrize("table", [SERVER, CLIENT])
def test_who_owes(table: Table) -> None:
    """AWAIT_x can lose the peer, the other states cannot: nobody reads there. FAULT alone leads to ERROR."""
    for state, steps in table.items():
        awaits = state.name.startswith("AWAIT_")
        assert (Input.CLOSED in steps, Input.FAULT in steps) == (awaits, awaits)
        assert {symbol for symbol, target in steps.items() if target is State.ERROR} <= {Input.FAULT}
    assert all(symbol in {*steps} for steps in (SERVER[State.ERROR],) for symbol in (Input.TURNED_AWAY,))


MIRROR = {
    State.SEND_OPENING: State.AWAIT_OPENING,
    State.AWAIT_METHOD: State.SELECT_METHOD,
    State.ANSWER_AUTH: State.AWAIT_AUTH,
    State.AWAIT_AUTH: State.ANSWER_AUTH,
    State.SEND_REQUEST: State.AWAIT_REQUEST,
    State.AWAIT_CONNECT: State.ANSWER_CONNECT,
    State.AWAIT_BIND: State.ANSWER_BIND,
    State.AWAIT_BIND_PEER: State.ANSWER_BIND_PEER,
    State.AWAIT_ASSOCIATE: State.ANSWER_ASSOCIATE,
    State.TUNNEL: State.TUNNEL,
    State.ASSOCIATED: State.ASSOCIATED,
    State.MUST_CLOSE: State.MUST_CLOSE,
    State.ERROR: State.ERROR,
}
ONE_SIDED = {
    Input.CLOSED,
    Input.FAULT,
    Input.TURNED_AWAY,
    # A step of a method is AUTH_MESSAGE to whom it reaches, and its end may come without a message.
    Input.AUTH_MESSAGE,
    Input.AUTH_CONTINUED,
    Input.AUTH_SUCCEEDED,
    Input.AUTH_REFUSED,
}


def test_tables_mirror_each_other() -> None:
    """Each step that one side takes by a message, the other takes too; no state means something to one side only."""
    assert set(MIRROR) == set(CLIENT)
    assert set(MIRROR.values()) == set(SERVER)
    for client_state, server_state in MIRROR.items():
        ours = {symbol: MIRROR[target] for symbol, target in CLIENT[client_state].items() if symbol not in ONE_SIDED}
        theirs = {symbol: target for symbol, target in SERVER[server_state].items() if symbol not in ONE_SIDED}
        assert ours == theirs, client_state


def test_diagrams_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_stale_diagrams_are_noticed(tmp_path: Path) -> None:
    for name in ("generate.py", "protocol.md", "configuration.md", "rules.md"):
        (tmp_path / name).write_text((ROOT / "docs" / name).read_text(encoding="utf-8"), encoding="utf-8")
    page, script = tmp_path / "protocol.md", [sys.executable, str(tmp_path / "generate.py")]
    page.write_text(page.read_text(encoding="utf-8").replace("[*] -->", "[*]  -->"), encoding="utf-8")
    assert subprocess.run([*script, "--check"], capture_output=True, check=False).returncode == 1
    assert subprocess.run(script, capture_output=True, check=False).returncode == 0
    assert subprocess.run([*script, "--check"], capture_output=True, check=False).returncode == 0
    page.write_text("no place for them", encoding="utf-8")
    assert subprocess.run(script, capture_output=True, check=False).returncode == 1


# --- every pair, through the verbs ---

SOCKS5_REQUEST = {
    Input.CONNECT: bytes.fromhex("05010001c00002010050"),
    Input.BIND: bytes.fromhex("05020001c00002010050"),
    Input.ASSOCIATE: bytes.fromhex("05030001000000000000"),
}
SOCKS4_REQUEST = {
    Input.CONNECT: bytes.fromhex("04010050c000020100"),
    Input.BIND: bytes.fromhex("04020050c000020100"),
}
CREDENTIALS = bytes.fromhex("0101610162")

# What the client has to send for the server to see an input.
TO_SERVER: dict[tuple[State, Input], bytes] = {
    (State.AWAIT_OPENING, Input.OFFER): b"\x05\x03" + OFFER,
    (State.AWAIT_AUTH, Input.AUTH_MESSAGE): CREDENTIALS,
    **{(State.AWAIT_OPENING, symbol): octets for symbol, octets in SOCKS4_REQUEST.items()},
    **{(State.AWAIT_REQUEST, symbol): octets for symbol, octets in SOCKS5_REQUEST.items()},
    **{(state, Input.CLOSED): b"" for state in (State.AWAIT_OPENING, State.AWAIT_AUTH, State.AWAIT_REQUEST)},
    **{(state, Input.FAULT): b"\xee" for state in (State.AWAIT_OPENING, State.AWAIT_AUTH, State.AWAIT_REQUEST)},
}
# What the server's shell has to do for an input.
BY_SERVER: dict[Input, Callable[[ServerConnection], bytes]] = {
    Input.NO_AUTH: lambda server: server.send(MethodSelected(0x00)),
    Input.METHOD: lambda server: server.send(MethodSelected(0x02)),
    Input.METHOD_SERVER_FIRST: lambda server: server.send(MethodSelected(0x80)),
    Input.NO_METHOD: lambda server: server.send(MethodSelected(0xFF)),
    Input.AUTH_CONTINUED: lambda server: server.send(AuthStep(Status(9))),
    Input.AUTH_SUCCEEDED: lambda server: server.send(AuthStep(Status(0), succeeded())),
    Input.AUTH_REFUSED: lambda server: server.send(AuthStep(Status(1), refused())),
    Input.GRANTED: lambda server: server.send(Reply(0)),
    Input.REFUSED: lambda server: server.send(Reply(1)),
    Input.TURNED_AWAY: lambda server: server.refuse(),
}
# How a server comes to stand in a state: what it receives and what its shell does.
WAY_OF_SERVER: dict[State, list[bytes | Input]] = {
    State.AWAIT_OPENING: [],
    State.SELECT_METHOD: [b"\x05\x03" + OFFER],
    State.AWAIT_AUTH: [b"\x05\x03" + OFFER, Input.METHOD],
    State.ANSWER_AUTH: [b"\x05\x03" + OFFER, Input.METHOD, CREDENTIALS],
    State.AWAIT_REQUEST: [b"\x05\x03" + OFFER, Input.NO_AUTH],
    State.ANSWER_CONNECT: [SOCKS4_REQUEST[Input.CONNECT]],
    State.ANSWER_BIND: [SOCKS4_REQUEST[Input.BIND]],
    State.ANSWER_BIND_PEER: [SOCKS4_REQUEST[Input.BIND], Input.GRANTED],
    State.ANSWER_ASSOCIATE: [b"\x05\x03" + OFFER, Input.NO_AUTH, SOCKS5_REQUEST[Input.ASSOCIATE]],
    State.ERROR: [b"\xee"],
    State.TUNNEL: [SOCKS4_REQUEST[Input.CONNECT], Input.GRANTED],
    State.ASSOCIATED: [b"\x05\x03" + OFFER, Input.NO_AUTH, SOCKS5_REQUEST[Input.ASSOCIATE], Input.GRANTED],
    State.MUST_CLOSE: [b""],
}


def succeeded() -> Outcome:
    return Outcome("fred")


def refused() -> Outcome:
    return Outcome(None)


def server_in(state: State) -> ServerConnection:
    server = ServerConnection(FRAMINGS)
    for step in WAY_OF_SERVER[state]:
        if isinstance(step, Input):
            BY_SERVER[step](server)
        else:
            server.receive_data(step)
            pull(server)
    assert server.state is state
    return server


def test_peers_inputs_are_all_tried() -> None:
    peers = {Input.OFFER, Input.AUTH_MESSAGE, Input.CONNECT, Input.BIND, Input.ASSOCIATE, Input.CLOSED, Input.FAULT}
    assert set(BY_SERVER) | peers == set(Input)
    assert set(TO_SERVER) == {(state, symbol) for state, steps in SERVER.items() for symbol in steps if symbol in peers}
    assert set(BY_CLIENT) | PEERS_OF_CLIENT == set(Input) - {Input.TURNED_AWAY}
    assert set(TO_CLIENT) == {
        (state, symbol) for state, steps in CLIENT.items() for symbol in steps if symbol in PEERS_OF_CLIENT
    }


def pairs(table: Table) -> list[tuple[State, Input]]:
    return [(state, symbol) for state in table for symbol in Input]


def name(value: object) -> str:
    assert isinstance(value, State | Input)
    return value.name


@pytest.mark.parametrize(("state", "symbol"), pairs(SERVER), ids=name)
def test_server_pair(state: State, symbol: Input) -> None:
    """A legal pair moves as the table says; an illegal one says so and moves nothing."""
    server = server_in(state)
    target = SERVER[state].get(symbol)
    if symbol in BY_SERVER:
        if target is not None:
            BY_SERVER[symbol](server)
            assert server.state is target
        elif symbol is Input.TURNED_AWAY and Input.REFUSED in SERVER[state]:
            # Where a reply is due, refuse() is that reply.
            assert BY_SERVER[symbol](server)
            assert server.state is State.MUST_CLOSE
        elif symbol is Input.TURNED_AWAY:
            assert BY_SERVER[symbol](server) == b""
            assert server.state is state
        else:
            with pytest.raises(LocalProtocolError):
                BY_SERVER[symbol](server)
            assert server.state is state
    elif target is not None:
        check_peers_input(server, TO_SERVER[state, symbol], target)
    elif not state.name.startswith("AWAIT_"):
        check_not_looked_at(server, [octets for (_, other), octets in TO_SERVER.items() if other is symbol])


def check_peers_input(connection: Connection, octets: bytes, target: State) -> None:
    connection.receive_data(octets)
    if target is State.ERROR:
        with pytest.raises(RemoteProtocolError):
            connection.next_event()
    else:
        assert not isinstance(connection.next_event(), Signal)
    assert connection.state is target


def check_not_looked_at(connection: Connection, tries: list[bytes]) -> None:
    """While the next step is ours, the peer's octets wait."""
    state = connection.state
    before = pull(connection)
    for octets in tries:
        connection.receive_data(octets)
        assert pull(connection) == before
        assert connection.state is state


# --- the same for the client ---

AWAITED_REPLIES = [State.AWAIT_CONNECT, State.AWAIT_BIND, State.AWAIT_BIND_PEER, State.AWAIT_ASSOCIATE]
SUCCESS = bytes.fromhex("05000001000000000000")
PEERS_OF_CLIENT = {
    Input.NO_AUTH,
    Input.METHOD,
    Input.METHOD_SERVER_FIRST,
    Input.NO_METHOD,
    Input.AUTH_MESSAGE,
    Input.GRANTED,
    Input.REFUSED,
    Input.CLOSED,
    Input.FAULT,
}
TO_CLIENT: dict[tuple[State, Input], bytes] = {
    (State.AWAIT_METHOD, Input.NO_AUTH): b"\x05\x00",
    (State.AWAIT_METHOD, Input.METHOD): b"\x05\x02",
    (State.AWAIT_METHOD, Input.METHOD_SERVER_FIRST): b"\x05\x80",
    (State.AWAIT_METHOD, Input.NO_METHOD): b"\x05\xff",
    (State.AWAIT_AUTH, Input.AUTH_MESSAGE): b"\x01\x00",
    **{(state, Input.GRANTED): SUCCESS for state in AWAITED_REPLIES},
    **{(state, Input.REFUSED): b"\x05\x01" for state in AWAITED_REPLIES},
    **{(state, Input.CLOSED): b"" for state in (State.AWAIT_METHOD, State.AWAIT_AUTH, *AWAITED_REPLIES)},
    **{(state, Input.FAULT): b"\xee" for state in (State.AWAIT_METHOD, State.AWAIT_AUTH, *AWAITED_REPLIES)},
}
BY_CLIENT: dict[Input, Callable[[ClientConnection], bytes]] = {
    Input.OFFER: lambda client: client.send(MethodsOffered(OFFER)),
    Input.CONNECT: lambda client: client.send(Request(client.version, 1, TARGET)),
    Input.BIND: lambda client: client.send(Request(client.version, 2, TARGET)),
    Input.ASSOCIATE: lambda client: client.send(Request(client.version, 3, TARGET)),
    Input.AUTH_CONTINUED: lambda client: client.send(AuthStep(Credentials(b"a", b"b"))),
    Input.AUTH_SUCCEEDED: lambda client: client.send(AuthStep(None, succeeded())),
    Input.AUTH_REFUSED: lambda client: client.send(AuthStep(None, refused())),
}
TO_REQUEST: list[bytes | Input] = [Input.OFFER, b"\x05\x00"]
WAY_OF_CLIENT: dict[State, list[bytes | Input]] = {
    State.SEND_OPENING: [],
    State.AWAIT_METHOD: [Input.OFFER],
    State.ANSWER_AUTH: [Input.OFFER, b"\x05\x02"],
    State.AWAIT_AUTH: [Input.OFFER, b"\x05\x02", Input.AUTH_CONTINUED],
    State.SEND_REQUEST: TO_REQUEST,
    State.AWAIT_CONNECT: [*TO_REQUEST, Input.CONNECT],
    State.AWAIT_BIND: [*TO_REQUEST, Input.BIND],
    State.AWAIT_BIND_PEER: [*TO_REQUEST, Input.BIND, SUCCESS],
    State.AWAIT_ASSOCIATE: [*TO_REQUEST, Input.ASSOCIATE],
    State.ERROR: [Input.OFFER, b"\xee"],
    State.TUNNEL: [*TO_REQUEST, Input.CONNECT, SUCCESS],
    State.ASSOCIATED: [*TO_REQUEST, Input.ASSOCIATE, SUCCESS],
    State.MUST_CLOSE: [Input.OFFER, b""],
}


def client_in(state: State) -> ClientConnection:
    client = ClientConnection(5, FRAMINGS)
    for step in WAY_OF_CLIENT[state]:
        if isinstance(step, Input):
            BY_CLIENT[step](client)
        else:
            client.receive_data(step)
            pull(client)
    assert client.state is state
    return client


@pytest.mark.parametrize(("state", "symbol"), pairs(CLIENT), ids=name)
def test_client_pair(state: State, symbol: Input) -> None:
    target = CLIENT[state].get(symbol)
    if state is State.SEND_OPENING and symbol in (Input.CONNECT, Input.BIND):
        # SOCKS4 begins with its request, SOCKS5 does not.
        with pytest.raises(LocalProtocolError):
            BY_CLIENT[symbol](client_in(state))
        old = ClientConnection(4)
        BY_CLIENT[symbol](old)
        assert old.state is target
        return
    client = client_in(state)
    if symbol in BY_CLIENT:
        if target is not None:
            BY_CLIENT[symbol](client)
            assert client.state is target
            return
        with pytest.raises(LocalProtocolError):
            BY_CLIENT[symbol](client)
        assert client.state is state
    elif target is not None:
        check_peers_input(client, TO_CLIENT[state, symbol], target)
    elif not state.name.startswith("AWAIT_"):
        check_not_looked_at(client, [octets for (_, other), octets in TO_CLIENT.items() if other is symbol])


@pytest.mark.parametrize("state", list(SERVER), ids=name)
def test_what_a_server_is_told(state: State) -> None:
    check_signal(server_in(state))


@pytest.mark.parametrize("state", list(CLIENT), ids=name)
def test_what_a_client_is_told(state: State) -> None:
    check_signal(client_in(state))


def check_signal(connection: Connection) -> None:
    """NEED_DATA exactly where the peer owes octets, the same error for ever in ERROR, PAUSED elsewhere; detach() where
    payload flows."""
    state = connection.state
    if state is State.ERROR:
        with pytest.raises(RemoteProtocolError) as first:
            connection.next_event()
        with pytest.raises(RemoteProtocolError) as second:
            connection.next_event()
        assert first.value is second.value
    else:
        assert connection.next_event() is (NEED_DATA if state.name.startswith("AWAIT_") else PAUSED)
    if state in (State.TUNNEL, State.ASSOCIATED):
        connection.detach()
        assert connection.state is State.MUST_CLOSE
        state = State.MUST_CLOSE
    with pytest.raises(LocalProtocolError, match="nothing to detach"):
        connection.detach()
    assert connection.state is state
