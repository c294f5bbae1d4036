"""Two endpoints joined, until both directions have ended.

*near* is who came to us, *far* whom we reached for it; *up* flows from near to far, *down* the other way.
"""

from collections.abc import Generator
from errno import ECONNRESET
from select import EPOLLERR, EPOLLHUP, EPOLLIN
from types import coroutine
from typing import TYPE_CHECKING, Final

from .endpoint import ENDED, READABLE, WRITABLE, Endpoint
from .flow import Flow
from .layered import Layer, UnwrappingFlow, WrappingFlow
from .linger import LINGER, linger, reset_when_sent

if TYPE_CHECKING:
    from .poller import Engine
    from .task import Task

__all__ = ("Relay",)

BROKEN: Final = EPOLLHUP | EPOLLERR


class Relay:
    """``await relay.run()`` joins the endpoints and returns when both directions have ended; if they did not
    end well, ``await relay.part()`` says goodbye in the way they deserve. Closing is the caller's."""

    __slots__ = (
        "down",
        "ended_well",
        "engine",
        "far",
        "fault",
        "finished",
        "first_ended",
        "idle_limit",
        "near",
        "task",
        "up",
    )

    def __init__(self, task: "Task", near: Endpoint, far: Endpoint, idle_limit: float) -> None:
        """``idle_limit``: seconds without an octet in either direction."""
        self.engine: Engine = near.engine
        self.task = task
        self.near = near
        self.far = far
        self.idle_limit = idle_limit
        self.finished = False
        self.ended_well = True
        """Whether both ends may simply be closed: no reset to pass on, no direction given up."""
        self.fault = ""
        """What was wrong with the octets of a security layer, if that ended it."""
        self.first_ended: Endpoint | None = None
        """Whose stream ended first."""
        self.up: Flow = Flow(self, near, far)
        self.down: Flow = Flow(self, far, near)
        self.up.twin, self.down.twin = self.down, self.up

    @coroutine
    def run(self, leftover: bytes = b"") -> Generator[None, None, None]:
        """Relays until both directions have ended. ``leftover`` came from near already and goes first.

        Raises TimeoutError at the idle limit; whatever interrupts it, both flows are given up.
        """
        near, far = self.near, self.far
        near.owner = far.owner = self
        self.task.set_limit("idle", self.idle_limit)
        if not near.registered:
            near.register()
        if not far.registered:
            far.register()
        try:
            if leftover or near.seen & READABLE:
                self.up.begin(leftover)
            if far.seen & READABLE:
                self.down.begin(b"")
            while not self.finished:
                self.task.waiting = self
                yield
        except BaseException:
            self._give_up()
            raise

    def protect_near(self, layer: Layer, wrapped: bytes) -> None:
        """Puts a security layer between near and the relay, before it runs; ``wrapped`` has arrived below it."""
        self.near.seen |= EPOLLIN  # so that what has arrived is looked at first
        self.up = UnwrappingFlow(self, self.near, self.far, layer, wrapped)
        self.down = WrappingFlow(self, self.far, self.near, layer)
        self.up.twin, self.down.twin = self.down, self.up

    def dissolve(self) -> None:
        """Undoes the ties between its parts, so that they vanish at once; the counters stay."""
        for flow in (self.up, self.down):
            del flow.relay, flow.twin
        del self.task

    async def part(self) -> None:
        """Closes both endpoints in the way their ends deserve: a reset is passed on as a reset, and a peer that
        still sends gets the time to read what was sent to it."""
        near, far = self.near, self.far
        near.owner = far.owner = self.task  # or their last edges would count as traffic and move the limit
        if near.was_reset or far.was_reset:
            self.task.set_limit("linger", 2 * LINGER)
            await reset_when_sent(far if near.was_reset else near)
        elif self.up.abandoned:
            await linger(self.task, near)
        elif self.down.abandoned:
            await linger(self.task, far)

    def on_edge(self, endpoint: Endpoint, events: int) -> None:
        endpoint.seen |= events & ENDED
        self.task.deadline = self.engine.now + self.idle_limit
        if endpoint is self.near:
            incoming, outgoing = self.up, self.down
        else:
            incoming, outgoing = self.down, self.up
        try:
            if outgoing.blocked and events & WRITABLE:
                outgoing.on_writable()
            if events & READABLE:
                if not incoming.ended:
                    incoming.pump()
                if events & BROKEN and incoming.ended and not outgoing.done:
                    # Its stream has ended, so no read will tell: the connection is gone altogether.
                    outgoing.sink_died(ConnectionResetError(ECONNRESET, "connection lost"))
        except Exception as error:  # noqa: BLE001  # it ends this relay alone
            self.crashed(error)

    def finish(self) -> None:
        """Both directions are done: the story goes on."""
        self.finished = True
        if self.task.waiting is self:
            self.task.resume()

    def crashed(self, error: Exception) -> None:
        """A fault of ours: ends this relay and is reported with its traceback."""
        self.task.interrupt(error)

    # --- private ---

    def _give_up(self) -> None:
        self.finished = True
        for flow in (self.up, self.down):
            if not flow.done:
                flow.abandon()
