"""An example of a private method (number 0x80): two rounds, then a layer around everything that follows.

It shows every part that a method can have. It is an example and not for real protection: nobody has reviewed its
cryptography. For that, use TLS, ssh or GSSAPI.

::

    client                                     server
    HELLO      its nonce, its user name
                                               CHALLENGE  its nonce
    PROOF      that it knows the secret
                                               VERDICT    0, and the proof that the server knows it, too; or 1

Every message is ``01 TYPE LENGTH DATA``. After a verdict of 0 all octets of both directions travel in frames, see
:class:`Layer`.
"""

import hmac
import os
import secrets
from hashlib import blake2b, shake_256
from typing import Any, NamedTuple

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.address import Buffer
from hosier.protocol.auth.base import AuthFraming, AuthStep, Outcome

__all__ = ("CHALLENGE", "HELLO", "PROOF", "VARIABLE", "VERDICT", "Framing", "Handshake", "Layer", "Message")

VARIABLE = "HANDSHAKE_EXAMPLE_SECRET"
"""The environment variable that holds the shared secret."""

HELLO, CHALLENGE, PROOF, VERDICT = 1, 2, 3, 4

_VERSION = 1
_NONCE = 16
_DIGEST = 32
_TAG = 16
# What each side may send, and how much data: from, to.
_SIZES = {
    True: {HELLO: (_NONCE + 1, 255), PROOF: (_DIGEST, _DIGEST)},
    False: {CHALLENGE: (_NONCE, _NONCE), VERDICT: (1, 1 + _DIGEST)},
}


# --- the wire half: octets, no secrets, no memory ---


class Message(NamedTuple):
    """One message of the two rounds."""

    kind: int
    data: bytes


class Framing:
    """The frames of the messages. One object serves all connections."""

    code: int = 0x80
    server_speaks_first: bool = False
    refusal: bytes = bytes((_VERSION, VERDICT, 1, 1))

    def decode(self, data: Buffer, *, from_client: bool) -> tuple[Message, int] | None:
        """Says "more is needed" (None) as long as there is hope, and complains as soon as there is none."""
        if data and data[0] != _VERSION:
            raise RemoteProtocolError(f"handshake version {data[0]} instead of {_VERSION}")
        if len(data) > 1 and data[1] not in _SIZES[from_client]:
            raise RemoteProtocolError(f"handshake message of type {data[1]}")
        if len(data) < 3:
            return None
        kind, size = data[1], data[2]
        least, most = _SIZES[from_client][kind]
        if not least <= size <= most:
            raise RemoteProtocolError(f"handshake message of type {kind} with {size} octets")
        end = 3 + size
        return (Message(kind, bytes(data[3:end])), end) if len(data) >= end else None

    def encode(self, body: Message, *, from_client: bool) -> bytes:
        sizes = _SIZES[from_client].get(body.kind)
        if sizes is None or not sizes[0] <= len(body.data) <= sizes[1]:
            raise LocalProtocolError(f"no handshake message has type {body.kind} and {len(body.data)} octets")
        return bytes((_VERSION, body.kind, len(body.data))) + body.data


# --- the layer: what stays between the socket and everything that follows ---


class Layer:
    """Frames of two octets LENGTH, the encrypted data, a tag of 16 octets over the frame and its number.

    Both directions have keys and counters of their own, so a frame that is changed, repeated, moved or sent back
    does not pass.
    """

    max_payload: int = 16384
    max_datagram: int = 65_000

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._sending = sending
        self._receiving = receiving
        self._sent = 0
        self._received = 0

    def wrap(self, data: bytes) -> bytes:
        if len(data) > self.max_payload:
            raise LocalProtocolError(f"a frame holds at most {self.max_payload} octets")
        number = self._sent.to_bytes(_NONCE, "big")
        self._sent += 1
        return len(data).to_bytes(2, "big") + _seal(self._sending, number, data)

    def unwrap(self, data: Buffer | memoryview) -> tuple[bytes, int] | None:
        if len(data) < 2:
            return None
        size = data[0] << 8 | data[1]
        # Judged before the frame has arrived: whoever sends lengths decides how much we must keep.
        if size > self.max_payload:
            raise RemoteProtocolError(f"a frame of {size} octets")
        end = 2 + size + _TAG
        if len(data) < end:
            return None
        number = self._received.to_bytes(_NONCE, "big")
        self._received += 1
        return _open(self._receiving, number, bytes(data[2:end])), end

    def wrap_datagram(self, data: bytes) -> bytes:
        """Datagrams get lost and overtake each other, so each brings its number: a random one, with the top bit set
        where the numbers of frames have none."""
        nonce = secrets.token_bytes(_NONCE)
        nonce = bytes((nonce[0] | 0x80,)) + nonce[1:]
        return nonce + _seal(self._sending, nonce, data)

    def unwrap_datagram(self, data: bytes) -> bytes:
        if len(data) < _NONCE + _TAG or not data[0] & 0x80:
            raise RemoteProtocolError("not a wrapped datagram")
        return _open(self._receiving, data[:_NONCE], data[_NONCE:])


def _seal(key: bytes, number: bytes, data: bytes) -> bytes:
    hidden = _mixed(key, number, data)
    return hidden + _tag(key, number, hidden)


def _open(key: bytes, number: bytes, sealed: bytes) -> bytes:
    hidden, tag = sealed[:-_TAG], sealed[-_TAG:]
    if not hmac.compare_digest(tag, _tag(key, number, hidden)):
        raise RemoteProtocolError("a frame was forged")
    return _mixed(key, number, hidden)


def _mixed(key: bytes, number: bytes, data: bytes) -> bytes:
    """The data and a key stream, combined; doing it twice undoes it."""
    stream = shake_256(key + number).digest(len(data))
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def _tag(key: bytes, number: bytes, hidden: bytes) -> bytes:
    return blake2b(number + hidden, key=key, digest_size=_TAG).digest()


# --- the thinking half: secrets, one object per connection ---


class Handshake:
    """The method: what an entry point makes and ``--method`` finds."""

    name: str = "handshake-example"

    def __init__(self, secret: bytes | None = None, user: str = "somebody") -> None:
        """Without a secret it is read from the environment; a server needs no user."""
        self.framing: AuthFraming = Framing()
        self._secret = os.environb.get(VARIABLE.encode(), b"") if secret is None else secret
        if len(self._secret) < 16:
            # What is raised here ends `hosier serve` with one line.
            raise ValueError(f"set {VARIABLE} to a shared secret of at least 16 characters")
        self._user = user.encode()

    def server_exchange(self) -> "_ServerSide":
        return _ServerSide(self._secret)

    def client_exchange(self) -> "_ClientSide":
        return _ClientSide(self._secret, self._user)


class _ServerSide:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._hello: bytes | None = None
        self._nonce = secrets.token_bytes(_NONCE)

    def step(self, message: Any) -> AuthStep:
        """Nothing here takes time. What does, is returned as an awaitable: this may be an ``async def``."""
        if message.kind == HELLO and self._hello is None:
            self._hello = message.data
            return AuthStep(Message(CHALLENGE, self._nonce))
        if message.kind != PROOF or self._hello is None:
            raise RemoteProtocolError("handshake message out of turn")
        keys = _Keys(self._secret, self._hello, self._nonce)
        if not hmac.compare_digest(message.data, keys.client_proof):
            return AuthStep(Message(VERDICT, b"\x01"), Outcome(None))
        identity = self._hello[_NONCE:].decode("utf-8", "backslashreplace")
        layer = Layer(sending=keys.to_client, receiving=keys.to_server)
        return AuthStep(Message(VERDICT, b"\x00" + keys.server_proof), Outcome(identity, layer))


class _ClientSide:
    def __init__(self, secret: bytes, user: bytes) -> None:
        self._secret = secret
        self._hello = secrets.token_bytes(_NONCE) + user
        self._keys: _Keys | None = None

    def step(self, message: Any) -> AuthStep:
        if message is None:
            return AuthStep(Message(HELLO, self._hello))
        if message.kind == CHALLENGE and self._keys is None:
            self._keys = _Keys(self._secret, self._hello, message.data)
            return AuthStep(Message(PROOF, self._keys.client_proof))
        # An impostor does not know the secret, so it cannot say yes in a way that we believe.
        if self._keys is None or not hmac.compare_digest(message.data, b"\x00" + self._keys.server_proof):
            return AuthStep(None, Outcome(None))
        layer = Layer(sending=self._keys.to_server, receiving=self._keys.to_client)
        return AuthStep(None, Outcome(self._hello[_NONCE:].decode(), layer))


class _Keys:
    """Everything that both sides derive from the secret and from what they said to each other."""

    def __init__(self, secret: bytes, hello: bytes, challenge: bytes) -> None:
        spoken = challenge + hello  # of one length, then of any: no two conversations read the same
        self.client_proof, self.server_proof, self.to_server, self.to_client = (
            hmac.digest(secret, purpose + spoken, "sha256")
            for purpose in (b"client proof ", b"server proof ", b"to the server", b"to the client")
        )
