"""Who may answer the client of an association, and under which header each answer goes to it (S5-REQ-80)."""

from collections.abc import Iterable
from typing import Any

from ..engine.recent import Recent
from ..policy.answers import Filtering
from ..protocol.address import parse_address
from ..protocol.udp import encode_header

__all__ = ("Answerers",)

Place = tuple[Any, ...]
"""A sockaddr."""


class Answerers:
    """Those whom the client has sent to, as far as the filtering asks for that; the last ``most`` of them."""

    __slots__ = ("_expected", "_filter", "_most", "headers")

    def __init__(self, filtering: Filtering, most: int) -> None:
        self._filter = filtering
        self._most = most
        self._expected: Recent[object, bool] = Recent(most)
        self.headers: Recent[Place, bytes] = Recent(most)
        """By the place that an answer came from."""

    def __len__(self) -> int:
        return max(len(self._expected), len(self.headers))

    def expect(self, host: str, port: int) -> None:
        """The client sends there now."""
        self._expected[self._filter.key(host, port)] = True

    def header(self, sockaddr: Place) -> bytes | None:
        """The header for a sender that was not heard lately; None if it may not answer."""
        header = self.headers.get(sockaddr)
        if header is None and self._expected.get(self._filter.key(sockaddr[0], sockaddr[1])):
            header = self.headers[sockaddr] = encode_header(parse_address(sockaddr[0].partition("%")[0], sockaddr[1]))
        return header

    def keep(self, places: Iterable[Place]) -> None:
        """Only those who stand for one of the places may go on answering."""
        kept = {self._filter.key(place[0], place[1]) for place in places}
        self._expected = Recent(self._most)
        for key in kept:
            self._expected[key] = True
        before, self.headers = self.headers, Recent(self._most)
        for sockaddr, header in before.items():
            if self._filter.key(sockaddr[0], sockaddr[1]) in kept:
                self.headers[sockaddr] = header

    def age(self) -> None:
        """Who is not asked again until the next time is forgotten."""
        self._expected.age()
        self.headers.age()
