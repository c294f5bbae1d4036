"""Which remote hosts may answer a client's datagrams: filtering, in the terms of RFC 4787 §5."""

from enum import Enum

__all__ = ("Filtering",)


class Filtering(Enum):
    """Which answers pass. The mapping is endpoint-independent in any case: a client's datagrams leave from one port
    per family, whatever their target."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    """From anybody."""

    ADDRESS = "address"
    """From hosts that the client has sent to ("address-dependent")."""

    ADDRESS_AND_PORT = "address-and-port"
    """From just the ports that it has sent to ("address and port-dependent")."""

    def key(self, host: str, port: int) -> object:
        """What two places must have in common for one to answer in place of the other."""
        if self is Filtering.ADDRESS:
            return host
        return (host, port) if self is Filtering.ADDRESS_AND_PORT else None
