"""Faults put in on purpose, to see that the harnesses find them.

A decoder's plant wraps the decoder; that of what is played with replaces a method. Each stands for a mistake that is
easily made.
"""

from collections.abc import Callable
from typing import Any

from oracle import Target

from hosier.protocol import connection as connection_module
from hosier.protocol import fragments as fragments_module
from hosier.protocol.address import Address, Buffer, parse_address
from hosier.protocol.connection import Connection
from hosier.protocol.fragments import Reassembly
from hosier.protocol.messages import Request
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import State

__all__ = ("PLAYS", "plant_in_decoder", "plant_in_play", "plants_of")

Decode = Callable[[bytes], tuple[Any, int] | None]


# --- decoders of a stream ---


def _raises_index_error(decode: Decode) -> Decode:
    """Looks one octet too far if the last one is even."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        if data and data[-1] % 2 == 0:
            data[len(data)]
        return decode(data)

    return planted


def _reports_wrong_size(decode: Decode) -> Decode:
    """Takes an octet of what follows."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        if found is not None and found[1] < len(data):
            return found[0], found[1] + 1
        return found

    return planted


def _cut_changes_result(decode: Decode) -> Decode:
    """Waits for more when a message is just complete."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        if found is not None and found[1] == len(data) and len(data) % 3 != 1:
            return None
        return found

    return planted


STREAM_PLANTS: dict[str, Callable[[Decode], Decode]] = {
    "raises_index_error": _raises_index_error,
    "reports_wrong_size": _reports_wrong_size,
    "cut_changes_result": _cut_changes_result,
}

# What a failure reply takes is not fixed, so its size can only be wrong by more than there is.


def _takes_more_than_is_there(decode: Decode) -> Decode:
    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        return (found[0], found[1] + 1) if found is not None and len(data) > 10 else found

    return planted


def _code_depends_on_the_rest(decode: Decode) -> Decode:
    """Reads the code from where a longer reply has another octet."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        if found is not None and found[0].code and len(data) > 3:
            return found[0]._replace(code=data[3] or 1), found[1]
        return found

    return planted


GREEDY_PLANTS: dict[str, Callable[[Decode], Decode]] = {
    "raises_index_error": _raises_index_error,
    "takes_more_than_is_there": _takes_more_than_is_there,
    "code_depends_on_the_rest": _code_depends_on_the_rest,
}


# --- decoders of packets ---


def _loses_an_octet(decode: Decode) -> Decode:
    """Cuts the payload short."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        assert found is not None
        return found[0]._replace(data=found[0].data[:-1]), found[1]

    return planted


def _swaps_the_port(decode: Decode) -> Decode:
    """Reads the port in the wrong order."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        assert found is not None
        address = found[0].address
        port = (address.port & 0xFF) << 8 | address.port >> 8
        return found[0]._replace(address=address._replace(port=port)), found[1]

    return planted


PACKET_PLANTS: dict[str, Callable[[Decode], Decode]] = {
    "raises_index_error": _raises_index_error,
    "loses_an_octet": _loses_an_octet,
    "swaps_the_port": _swaps_the_port,
}


# --- decoders of packets that are one frame ---


def _loses_the_last_octet(decode: Decode) -> Decode:
    """Cuts what is in the frame short."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        found = decode(data)
        assert found is not None
        return found[0][:-1], found[1]

    return planted


def _takes_what_is_behind_the_frame(decode: Decode) -> Decode:
    """Looks at the frame as if it were in a stream."""

    def planted(data: bytes) -> tuple[Any, int] | None:
        frame = data[: 4 + int.from_bytes(data[2:4], "big")]
        found = decode(frame)
        assert found is not None
        return found[0], len(data)

    return planted


FRAME_PLANTS: dict[str, Callable[[Decode], Decode]] = {
    "raises_index_error": _raises_index_error,
    "loses_the_last_octet": _loses_the_last_octet,
    "takes_what_is_behind_the_frame": _takes_what_is_behind_the_frame,
}


def _family(target: Target) -> dict[str, Callable[[Decode], Decode]]:
    if target.whole:
        return PACKET_PLANTS if target.fields else FRAME_PLANTS
    return GREEDY_PLANTS if target.greedy else STREAM_PLANTS


def plant_in_decoder(target: Target, name: str) -> Target:
    """The target with the fault in it."""
    return target._replace(decode=_family(target)[name](target.decode))


# --- whole conversations ---


def _index_error_in_requests() -> None:
    read = ServerConnection._read_request

    def planted(self: Any, data: Buffer) -> Any:
        if len(data) > 4 and data[3] == 3:
            data[5 + data[4]]  # the port may not have come yet
        return read(self, data)

    ServerConnection._readers = {**ServerConnection._readers, State.AWAIT_REQUEST: planted}


def _state_not_advanced() -> None:
    next_event = Connection.next_event

    def planted(self: Connection) -> Any:
        before, event = self.state, next_event(self)
        if isinstance(event, Request) and event.command == 2:
            self.state = before
        return event

    Connection.next_event = planted  # type: ignore[method-assign]


def _octets_lost_at_a_cut() -> None:
    receive_data = Connection.receive_data

    def planted(self: Connection, data: bytes) -> None:
        receive_data(self, data if len(self._buffer) < 5 else data[1:])

    Connection.receive_data = planted  # type: ignore[method-assign]


def _early_payload_dropped() -> None:
    next_event = Connection.next_event

    def planted(self: Connection) -> Any:
        event = next_event(self)
        if isinstance(event, Request):
            self._buffer = b""
        return event

    Connection.next_event = planted  # type: ignore[method-assign]


def _error_forgotten() -> None:
    fail = Connection._fail

    def planted(self: Connection, error: Any) -> None:
        fail(self, error)
        self._error = None

    Connection._fail = planted  # type: ignore[method-assign]


def _buffers_without_bound() -> None:
    connection_module.MAX_BUFFERED = 1 << 30  # type: ignore[misc]


def _layer_too_early() -> None:
    """What came with the last token stays above the layer."""
    install = Connection._install

    def planted(self: Connection, layer: Any) -> None:
        early = self._buffer
        install(self, layer)
        self._buffer, self._wrapped = early, b""

    Connection._install = planted  # type: ignore[method-assign]


CONNECTION_PLANTS: dict[str, Callable[[], None]] = {
    "index_error_in_requests": _index_error_in_requests,
    "state_not_advanced": _state_not_advanced,
    "octets_lost_at_a_cut": _octets_lost_at_a_cut,
    "early_payload_dropped": _early_payload_dropped,
    "error_forgotten": _error_forgotten,
    "buffers_without_bound": _buffers_without_bound,
    "layer_too_early": _layer_too_early,
}


# --- fragments that are put together ---


def _takes_any_target() -> None:
    """Joins what goes to different places."""
    add = Reassembly.add

    def planted(self: Reassembly, fragment: int, target: Address, data: bytes, now: float) -> bytes | None:
        return add(self, fragment, parse_address("192.0.2.1", 1), data, now)

    Reassembly.add = planted  # type: ignore[method-assign]


def _timer_begins_anew() -> None:
    """Each fragment puts the end off."""
    add = Reassembly.add

    def planted(self: Reassembly, fragment: int, target: Address, data: bytes, now: float) -> bytes | None:
        whole = add(self, fragment, target, data, now)
        if self.deadline is not None:
            self.deadline = now + fragments_module.REASSEMBLY_SECONDS
        return whole

    Reassembly.add = planted  # type: ignore[method-assign]


def _fragments_without_bound() -> None:
    fragments_module.LARGEST = 1 << 30  # type: ignore[misc]


def _takes_a_duplicate() -> None:
    """Which makes a gap of what comes next."""
    add = Reassembly.add

    def planted(self: Reassembly, fragment: int, target: Address, data: bytes, now: float) -> bytes | None:
        if fragment & 0x7F and fragment & 0x7F == self._highest:
            self.reset()
        return add(self, fragment, target, data, now)

    Reassembly.add = planted  # type: ignore[method-assign]


REASSEMBLY_PLANTS: dict[str, Callable[[], None]] = {
    "takes_any_target": _takes_any_target,
    "timer_begins_anew": _timer_begins_anew,
    "fragments_without_bound": _fragments_without_bound,
    "takes_a_duplicate": _takes_a_duplicate,
}


PLAYS: dict[str, dict[str, Callable[[], None]]] = {"server": CONNECTION_PLANTS, "reassembly": REASSEMBLY_PLANTS}
"""What is played with, and the faults for it."""


def plant_in_play(play: str, name: str) -> None:
    """Puts the fault into the classes of this process."""
    PLAYS[play][name]()


def plants_of(target: Target) -> tuple[str, ...]:
    """The names of the faults for a decoder."""
    return tuple(_family(target))
