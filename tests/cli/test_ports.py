"""Options that are a port."""

from __future__ import annotations

import argparse

import pytest

from hosier.cli.ports import listen_port, port

from .harness import ran


def test_what_is_right() -> None:
    assert (port("1"), port("65535"), listen_port("0")) == (1, 65535, 0)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "", "\u0661", "8 0", "9" * 5000])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a port: 1 to 65535 are"):
        port(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("connect", "--proxy", "socks5h://127.0.0.1:9", "localhost", "http"),
        ("listen", "--proxy", "socks5h://127.0.0.1:9", "localhost", "99999"),
    ],
)
def test_a_mistake_costs_one_line(arguments: tuple[str, ...]) -> None:
    status, output, said = ran(*arguments)
    assert (status, output, said.count("\n")) == (2, b"", 1)
    assert f"see hosier {arguments[0]} --help" in said
