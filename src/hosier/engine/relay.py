"""Two endpoints joined, until both directions have ended.

*near* is who came to us, *far* whom we reached for it; *up* flows from near to far, *down* the other way.
"""

from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING, Final

from .endpoint import READABLE, Endpoint
from .events import EPOLLIN
from .flow import Flow
from .flow_status import ABANDONED, DONE
from .layered import UnwrappingFlow, WrappingFlow
from .layers import Layer, Translation
from .linger import LINGER, linger, reset_when_sent
from .paced import Pacer, paced

if TYPE_CHECKING:
    from .task import Task

__all__ = ("Relay",)

IDLE_PARTS: Final = 8
"""Looks at the counters per idle limit, which so costs a busy relay nothing; it strikes at most one part late."""


class Relay:
    """``await relay.run()`` joins the endpoints and returns when both directions have ended; if they did not
    end well, ``await relay.part()`` says goodbye in the way they deserve. Closing is the caller's."""

    __slots__ = (
        "down",
        "ended_well",
        "far",
        "fault",
        "finished",
        "first_ended",
        "first_was_reset",
        "idle_limit",
        "near",
        "task",
        "up",
    )

    def __init__(
        self, task: "Task", near: Endpoint, far: Endpoint, idle_limit: float, layer: Layer | None = None
    ) -> None:
        """``idle_limit``: seconds without an octet in either direction; ``layer``: what protects near."""
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
        self.first_was_reset = False
        """Whether that was no orderly end. A peer that has closed altogether resets what is sent to it later."""
        beyond = None if far.tunnel is None else far.tunnel.layer
        up: Flow
        down: Flow
        if layer is None:
            if beyond is None:
                up, down = Flow(self, near, far), Flow(self, far, near)
            else:
                up, down = WrappingFlow(self, near, far, beyond), UnwrappingFlow(self, far, near, beyond, b"")
        elif beyond is None:
            up, down = UnwrappingFlow(self, near, far, layer, b""), WrappingFlow(self, far, near, layer)
        else:
            up = UnwrappingFlow(self, near, far, Translation(layer, beyond), b"")
            down = UnwrappingFlow(self, far, near, Translation(beyond, layer), b"")
        up.twin, down.twin = down, up
        self.up, self.down = up, down

    @coroutine
    def run(self, leftover: bytes = b"") -> Generator[None, None, None]:
        """Relays until both directions have ended. ``leftover`` came from near already and goes first; so does what
        came through far's tunnel.

        Raises TimeoutError at the idle limit; whatever interrupts it, both flows are given up.
        """
        near, far, task = self.near, self.far, self.task
        said = b"" if far.tunnel is None else far.tunnel.said
        near.owner, far.owner = self.up, self.down
        part = self.idle_limit / IDLE_PARTS
        task.set_limit("idle", part)
        if not near.heard:
            near.register()
        if not far.heard:
            far.register()
        try:
            if leftover or near.seen & READABLE:
                self.up.begin(leftover)
            if said or far.seen & READABLE:
                self.down.begin(said)
            moved = quiet = 0
            while not self.finished:
                task.waiting = self
                try:
                    yield
                except TimeoutError:
                    quiet = quiet + 1 if moved == self.up.moved + self.down.moved else 0
                    if quiet == IDLE_PARTS:
                        raise
                    moved = self.up.moved + self.down.moved
                    task.set_limit("idle", part)
        except BaseException:
            self._give_up()
            raise

    def take_wrapped(self, octets: bytes) -> None:
        """Takes what has arrived below near's layer already, before it runs."""
        assert isinstance(self.up, UnwrappingFlow)  # there is a layer
        self.up.take_wrapped(octets)
        self.near.seen |= EPOLLIN  # so that it is looked at first

    def pace(self, up: Pacer | None, down: Pacer | None) -> None:
        """Holds the directions to a pace, before it runs."""
        self._replace_flows(
            paced(self.up, up) if up is not None else self.up,
            paced(self.down, down) if down is not None else self.down,
        )

    def dissolve(self) -> None:
        """Undoes the ties between its parts, so that they vanish at once; the counters stay."""
        up, down = self.up, self.down
        del self.task, up.relay, up.twin, down.relay, down.twin

    async def part(self) -> None:
        """Closes both endpoints in the way their ends deserve: a reset is passed on as a reset, and a peer that
        still sends gets the time to read what was sent to it."""
        near, far = self.near, self.far
        near.owner = far.owner = self.task  # or their last edges would count as traffic and move the limit
        if near.was_reset or far.was_reset:
            self.task.set_limit("linger", 2 * LINGER)
            await reset_when_sent(far if near.was_reset else near)
        elif self.up.status >= ABANDONED:
            await linger(self.task, near)
        elif self.down.status >= ABANDONED:
            await linger(self.task, far)

    def finish(self) -> None:
        """Both directions are done: the story goes on."""
        self.finished = True
        if self.task.waiting is self:
            self.task.resume()

    def crashed(self, error: Exception) -> None:
        """A fault of ours: ends this relay and is reported with its traceback."""
        self.task.interrupt(error)

    # --- private ---

    def _replace_flows(self, up: Flow, down: Flow) -> None:
        # Those that go must not keep each other, and all of the session, until the garbage collector comes by.
        del self.up.twin, self.down.twin
        self.up, self.down = up, down
        up.twin, down.twin = down, up

    def _give_up(self) -> None:
        self.finished = True
        for flow in (self.up, self.down):
            if flow.status < DONE:
                flow.abandon()
