"""The server that does what a script tells it."""

from __future__ import annotations

import socket

import pytest

from hosier.testing import (
    ScriptedServer,
    receive,
    receive_credentials,
    receive_greeting,
    receive_request,
    reset,
    send,
    stall,
)


def test_script() -> None:
    """Each message is waited for, in pieces or together with others."""
    script = [receive_greeting(), send(b"1"), receive_credentials(), send(b"2"), receive_request(), send(b"3")]
    messages = b"\x05\x02\x00\x02" + b"\x01\x01a\x01b" + b"\x05\xf7\x00\x01" + bytes(6)
    with ScriptedServer(script) as server:
        with socket.create_connection(server.address) as client:
            client.sendall(messages)
            assert client.recv(10, socket.MSG_WAITALL) == b"123"
        with socket.create_connection(server.address) as client:
            client.sendall(messages[:3])
            client.sendall(messages[3:])
            assert client.recv(10, socket.MSG_WAITALL) == b"123"
        assert server.received == messages
        assert len(server.conversations) == 2


def test_scripts_in_turn() -> None:
    with ScriptedServer([send(b"one")], [receive_request(), send(b"two", octet_by_octet=True)]) as server:
        for greeting, expected in ((b"", b"one"), (b"\x04\x01" + bytes(7), b"two"), (b"\x04\x01" + bytes(7), b"two")):
            with socket.create_connection(server.address) as client:
                client.sendall(greeting)
                assert client.recv(10, socket.MSG_WAITALL) == expected


def test_reset() -> None:
    with ScriptedServer([receive(1), reset()]) as server, socket.create_connection(server.address) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_end_of_a_stall() -> None:
    """The client's end or the server's ends it."""
    with ScriptedServer([send(b"x"), stall()]) as server:
        client = socket.create_connection(server.address)
        assert client.recv(1) == b"x"
        socket.create_connection(server.address).close()
    with client:
        assert client.recv(1) == b""


def test_broken_client_ends_its_script() -> None:
    with ScriptedServer([receive_greeting(), send(b"x")]) as server, socket.create_connection(server.address) as client:
        client.sendall(b"GET")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_url() -> None:
    with ScriptedServer([]) as server:
        assert server.url == f"socks5h://127.0.0.1:{server.address[1]}"
