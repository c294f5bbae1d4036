"""The story of one client, from its first octet to its last.

Only what a step needs from outside is asked of the server; what a command does is told in ``commands``.
"""

import asyncio
from socket import SocketType
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..auth.base import Method, ServerExchange
from ..auth.registry import method_label
from ..engine.endpoint import BROKEN, Endpoint
from ..engine.events import EPOLLIN
from ..engine.linger import linger
from ..engine.relay import Relay
from ..engine.task import Task, foreign
from ..errors import PolicyDenied, ProxyConnectionError, RemoteProtocolError, ReplyCode, reply_code_for
from ..observe.record import SessionRecord
from ..policy.limits import Tally
from ..policy.purses import Purse
from ..policy.rules import Verdict
from ..policy.sources import source_of
from ..protocol.address import Address
from ..protocol.auth.password import Credentials
from ..protocol.messages import (
    NEED_DATA,
    NO_ACCEPTABLE_METHODS,
    NO_AUTHENTICATION,
    PAUSED,
    AuthMessage,
    AuthStep,
    Command,
    ConnectionClosed,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
)
from ..protocol.server_connection import ServerConnection
from .commands import COMMANDS
from .doorkeeper import Claim
from .ident import identify
from .ruling import DeniedByRule
from .udp_relay import UdpRelay

if TYPE_CHECKING:
    from .server import Server

__all__ = ("Session",)

_READ = 4096  # octets; a handshake's messages are smaller, a layer's frames come in pieces


_COMMANDS: Final = {int(command): command.name for command in Command}
_ASSOCIATE: Final = Command.UDP_ASSOCIATE.name
_METHODS: Final = tuple(map(method_label, range(256)))
_new: Final = tuple.__new__
_SELECTED = tuple(map(MethodSelected, range(256)))
_ADVICE: Final = dict.fromkeys(("http", "tls"), "have the client take this for a SOCKS proxy: socks5h://HOST:PORT")


class ClientLeft(Exception):
    """Nobody waits any more for what a command is about to do."""


class Session(Task):
    """One client. ``run()`` is its story; the attributes are what is known of it so far."""

    __slots__ = (
        "asked",
        "bound",
        "client",
        "connection",
        "dialled",
        "end",
        "listener",
        "method",
        "peer",
        "purses",
        "relay",
        "reply",
        "request",
        "server",
        "started",
        "tallies",
        "user",
        "verdict",
    )

    def __init__(
        self,
        server: "Server",
        sock: SocketType,
        peer: tuple[Any, ...],
        tallies: tuple[Tally, ...] = (),
        listener: str = "",
    ) -> None:
        engine = server.engine
        Task.__init__(self, engine)  # super() costs more than the call, and every session makes it
        self.server = server
        self.peer = peer
        self.tallies = tallies  # where it counts
        self.listener = listener  # where it came in, as the settings write it
        self.purses: tuple[Purse, ...] = ()  # what it draws on
        # The kernel holds a connection back until the greeting is there, so a first look is never in vain.
        self.client = Endpoint(engine, sock, self, EPOLLIN)
        self.connection: ServerConnection | None
        if server.settings.strict:
            self.connection = ServerConnection(server.framings, strict=True)
        else:
            self.connection = ServerConnection(server.framings)  # a keyword costs more than the rest of the call
        self.started = self.asked = engine.now = monotonic()
        self.user: str | None = None
        self.method: int | None = None
        self.request: Request | None = None
        self.reply: int | None = None
        self.verdict: Verdict | None = None  # what the rules say, where there are some
        self.dialled: Address | None = None
        self.bound: Address | None = None
        self.relay: Relay | UdpRelay | None = None
        self.end = ""

    async def run(self) -> None:
        """Handshake, command, relay; whatever happens, it ends with the client told and everything closed."""
        try:
            self.set_limit("handshake", self.server.settings.limits.handshake)
            request = await self._handshake()
            if request is not None:
                leftover = await COMMANDS[request.command](self, request)
                self.connection = None  # its work is done; a long relay need not carry it
                if self.relay is not None:
                    if self.server.watches:
                        self.server.answered(self)
                    await self.relay.run(leftover)
                    if not self.relay.ended_well:
                        if self.relay.fault:
                            self.server.explain(self, self._relay_end())
                        await self.relay.part()
        except RemoteProtocolError as error:
            self.end = error.reason
            self.server.explain(self, error.reason, _ADVICE.get(error.looks_like or "", ""))
            await self.refuse(error.reply_hint)
        except PolicyDenied as denied:
            await self.turn_away(denied)
        except TimeoutError:
            self.end = f"{self.limit} limit"
        except ClientLeft:
            self.end = "client left before the answer"
        except ProxyConnectionError as error:
            self.end = f"upstream lost: {error}"
        except OSError as error:
            self.end = f"client lost: {error.strerror or error}"
        except asyncio.CancelledError:
            self.end = "server stopped"
            raise
        except Exception as error:
            self.end = f"a fault of the server's: {type(error).__name__}"
            await self.refuse(ReplyCode.GENERAL_FAILURE)
            raise
        finally:
            self.client.close()
            if self.relay is not None:
                self.relay.far.close()
                self.relay.dissolve()
            self.server.ended(self)

    @property
    def source(self) -> str:
        """Whose it is: a user's who has proved it, or else of the client's address."""
        return f"user {self.user}" if self.user is not None and self.method else source_of(self.peer[0])

    def may_wait(self) -> None:
        """From now on it hears of a client that leaves; it may have left already."""
        client = self.client
        if not client.heard:
            client.register()
        if client.seen & BROKEN:
            raise ClientLeft

    def broke(self, endpoint: Endpoint) -> None:
        """A client that has left needs no connection to its target."""
        if endpoint is self.client and self.limit == "connect":
            self.interrupt(ClientLeft())

    async def refuse(self, code: int, bound: Address | None = None) -> None:
        """Tells the client no, in the words that fit where the handshake stands, and lets it read them. ``bound``
        goes into the reply to a request, in the place of zeros."""
        connection = self.connection
        if connection is None:
            return
        data = connection.refuse(code) if bound is None else connection.send(Reply(code, bound))
        if len(data) > 2 and connection.version:
            self.reply = code
        try:
            if data:
                await self.client.send_all(data)
        except OSError:
            return  # it did not wait for the answer
        await linger(self, self.client, self.server.settings.limits.linger)

    async def turn_away(self, denied: PolicyDenied, bound: Address | None = None) -> None:
        """Tells the client, the log and the operator that it may not. ``bound``: as ``refuse`` takes it."""
        if isinstance(denied, DeniedByRule):
            self.verdict = denied.verdict
        self.end = f"refused: {denied.reason}"
        self.server.explain(self, denied.reason, denied.advice)
        await self.refuse(denied.code, bound)

    async def fail(self, what: str, error: OSError) -> None:
        """Tells the client, the log and the operator that the system could not do what was asked."""
        self.end = f"{what} failed: {error.strerror or error}"
        self.server.explain(self, self.end)
        await self.refuse(reply_code_for(error))

    def record(self, octets: tuple[int, int]) -> SessionRecord:
        """What is known of it, for those who watch. ``octets``: of payload that it has moved up and down."""
        request, relay, verdict = self.request, self.relay, self.verdict
        command: str
        address: Address | None
        if request is None:
            version = 0 if self.connection is None else self.connection.version
            command, address = "", None
        else:
            version, number, address, _ = request
            command = _COMMANDS[number]
        sent, received = octets
        # Past the named tuple's own constructor, which costs a logged session as much as its line does.
        fields = (
            self.peer[:2],
            self.user,
            version,
            "" if self.method is None else _METHODS[self.method],
            command,
            address,
            self.dialled,
            self.bound,
            self.reply,
            sent,
            received,
            self.engine.now - self.started,
            self.end or self._relay_end(),
            relay.counts() if command == _ASSOCIATE and isinstance(relay, UdpRelay) else None,
            "" if verdict is None else verdict.rule,
            "normal" if verdict is None else verdict.log_level,
        )
        return _new(SessionRecord, fields)

    # --- the handshake ---

    async def _handshake(self) -> Request | None:
        """Up to the request; None if there is no more to be done."""
        connection, client = self.connection, self.client
        assert connection is not None  # it lives until the command is done
        exchange: ServerExchange | None = None
        # Nearly always the greeting has come with the connection, and each message comes whole and alone.
        if (data := client.recv_some(_READ)) is not None:
            if (selected := connection.take_usual_greeting(data, self.server.methods)) is not None:
                self.method = method = selected[1]
                if rest := client.send_some(selected):
                    await client.send_all(rest)
                if method != NO_AUTHENTICATION:
                    exchange = self._begin_auth(method)
                data = await client.recv(_READ)
                while exchange is not None and (message := connection.take_usual_message(data)) is not None:
                    if not await self._authenticate(connection, exchange, message[0]):
                        return None
                    data = await client.recv(_READ)
                    if self.user is not None:
                        break
                if connection.layer is not None:
                    if (request := connection.open_request(data)) is not None:
                        return self._requested(request)
                    data = None  # it is received
                elif (request := connection.take_usual_request(data)) is not None:
                    return self._requested(request)
            if data is not None:
                connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is NEED_DATA:
                connection.receive_data(await client.recv(_READ))
            elif isinstance(event, MethodsOffered):
                method = self._choose(event.methods)
                if method == NO_ACCEPTABLE_METHODS:
                    await self._no_method(event.methods)
                    return None
                self.method = method
                if rest := client.send_some(connection.send(_SELECTED[method])):
                    await client.send_all(rest)
                if method != NO_AUTHENTICATION:
                    exchange = self._begin_auth(method)
            elif isinstance(event, Request):
                if event.version == 4 and self.server.questions_socks4:
                    self.request = event
                    await identify(self, event)
                return self._requested(event)
            elif isinstance(event, AuthMessage) or event is PAUSED:
                assert exchange is not None  # the tables lead here through a selected method only
                message = event.body if isinstance(event, AuthMessage) else None
                if not await self._authenticate(connection, exchange, message):
                    return None
            else:
                assert isinstance(event, ConnectionClosed)
                self.end = "client left in the handshake"
                return None

    def _requested(self, request: Request) -> Request:
        """The handshake is over. Raises PolicyDenied for a user who may not go on."""
        self.request = request
        self.server.admit(self)
        return request

    def _choose(self, offered: bytes) -> int:
        for method in self.server.methods:
            if method in offered:
                return method
        return NO_ACCEPTABLE_METHODS

    async def _no_method(self, offered: bytes) -> None:
        names = ", ".join(method_label(method) for method in sorted(set(offered))) or "none"
        self.end = f"no acceptable method; offered: {names}"
        self.server.explain(self, self.end)
        await self.refuse(ReplyCode.GENERAL_FAILURE)

    def _begin_auth(self, method: int) -> ServerExchange:
        server = self.server
        if method not in server.quick_methods:
            # Rounds with a far-away authority: the limit for handshakes would be too short, none too long.
            self.set_limit("auth", server.settings.limits.auth)
        return self._offered(method).server_exchange()

    async def _authenticate(self, connection: ServerConnection, exchange: ServerExchange, message: Any) -> bool:
        """One round; False if the client is refused."""
        server = self.server
        name = message[0] if isinstance(message, Credentials) else None
        claim: Claim | None = None
        if self.method not in server.unguessable:
            claim = self._claim(name)
            server.doorkeeper.admit(claim)
        step = exchange.step(message)
        if name is None and isinstance(step, asyncio.Future):
            step = await step  # nobody else's code runs here: no task is needed for it
        if not isinstance(step, AuthStep):
            claim = claim or self._claim(name)
            step = await foreign(self.engine.loop, server.doorkeeper.in_turn(claim, step))
        elif (outcome := step[1]) is not None and (claim is not None or outcome[0] is None):
            # Who cannot guess has no failures that success would forgive: only a failure of theirs is told.
            server.doorkeeper.heed(claim or self._claim(name), step)
        if (data := connection.send(step)) and (rest := self.client.send_some(data)):
            await self.client.send_all(rest)
        if (outcome := step[1]) is None:
            return True
        if (identity := outcome[0]) is None:
            self.end = "authentication failed"
            if reason := outcome.reason:
                self.end += f": {reason}"
                self.server.explain(self, self.end)
            await linger(self, self.client, self.server.settings.limits.linger)
            return False
        self.user = identity
        if self.limit != "handshake":
            self.set_limit("handshake", self.server.settings.limits.handshake)
        return True

    def _claim(self, name: bytes | None) -> Claim:
        """Raises PolicyDenied as ``_offered`` does."""
        code: int = self.method  # type: ignore[assignment]  # there is one, or nobody would be asked
        method = self._offered(code)
        return _new(Claim, (self.peer[0], name, method.name, 5, code not in self.server.unguessable))

    def _offered(self, code: int) -> Method:
        """The method that was chosen. Raises PolicyDenied if it is offered no more: settings may have changed."""
        method = self.server.methods.get(code)
        if method is None:
            raise PolicyDenied("its method of authentication is not offered any more")
        return method

    def _relay_end(self) -> str:
        relay = self.relay
        if relay is None:
            return ""
        if relay.fault:
            return f"security layer: {relay.fault}"
        first = relay.first_ended
        if first is None:
            return "connections lost"
        if relay.first_was_reset:
            return "client reset" if first is self.client else "target reset"
        return "client closed" if first is self.client else "target closed"
