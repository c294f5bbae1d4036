"""Every way to cut, once."""

import pytest

from hosier.testing import every_cut


@pytest.mark.parametrize(
    ("data", "cuts"),
    [
        (b"", []),
        (b"a", [(b"a",)]),
        (b"ab", [(b"ab",), (b"a", b"b")]),
        (b"abc", [(b"abc",), (b"a", b"b", b"c"), (b"a", b"bc"), (b"ab", b"c")]),
    ],
)
def test_every_cut(data: bytes, cuts: list[tuple[bytes, ...]]) -> None:
    assert list(every_cut(data)) == cuts


def test_long_data() -> None:
    data = bytes(range(100))
    cuts = list(every_cut(data))
    assert len(cuts) == len(set(cuts)) == 101
    assert all(b"".join(pieces) == data and all(pieces) for pieces in cuts)
