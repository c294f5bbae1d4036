"""Flows that do more than to copy: each takes steps, and an edge begins one."""

from .endpoint import Endpoint
from .events import EPOLLIN
from .flow import Flow

__all__ = ("SteppingFlow",)


class SteppingFlow(Flow):
    """One that does more than to copy: an edge is the beginning of one step."""

    __slots__ = ()

    _frame_size: int = 0
    """Octets of the source that make one frame, if there is bulk; then an edge is but a wish for a turn, unless all
    others are quiet."""

    def on_edge(self, source: Endpoint, events: int) -> None:
        try:
            if events == EPOLLIN or self._heed(events):
                if self.status:
                    self._put_off()
                elif not self._frame_size:
                    self.pump()
                elif source.engine.is_quiet:
                    self.turn()
                else:
                    self._queue()
        except Exception as error:  # noqa: BLE001  # it ends this relay alone
            self.crashed(error)

    def pump(self) -> None:
        """The step, if the flow is free to take it."""
        raise NotImplementedError
