"""A security context without cryptography: a token is 0x57, one octet that says whether it is sealed, the data."""

from hosier.errors import RemoteProtocolError


class FakeContext:
    """Sends ``tokens`` one after the other; complete after the last one, and after ``needs`` of the peer's."""

    def __init__(self, *tokens: bytes, needs: int = 1, principal: str = "ann@HOSIER.TEST") -> None:
        self._tokens = list(tokens)
        self._needs = needs
        self.taken: list[bytes | None] = []
        self.principal = principal
        self.complete = False
        self.integrity = True
        self.confidentiality = True
        self.replay_detection = True
        self.longer = 0
        """Octets by which tokens are longer than promised."""

    def step(self, token: bytes | None) -> bytes:
        if token == b"forged":
            raise RemoteProtocolError("the token is forged")
        self.taken.append(token)
        answer = self._tokens.pop(0) if self._tokens else b""
        came = sum(one is not None for one in self.taken)
        self.complete = came >= self._needs and not self._tokens
        return answer

    def wrap(self, data: bytes | bytearray, confidential: bool) -> bytes:
        return bytes((0x57, confidential)) + data + bytes(self.longer)

    def unwrap(self, token: bytes | bytearray) -> tuple[bytes, bool]:
        if len(token) < 2 or token[0] != 0x57:
            raise RemoteProtocolError("the token is not wrapped")
        return bytes(token[2:]), bool(token[1])

    def wrap_limit(self, size: int, confidential: bool) -> int:
        return size - 2 - 10 * confidential
