"""Methods by number and by name: the registry's names for logs, other packages' methods by entry point."""

from functools import lru_cache
from importlib.metadata import entry_points
from typing import Final

from ..errors import ConfigError
from .base import Method

__all__ = ("ENTRY_POINTS", "load_method", "method_label")

ENTRY_POINTS: Final = "hosier.methods"

# IANA, "SOCKS Methods", 2017-08-31.
_REGISTERED: Final = {
    0x00: "no authentication",
    0x01: "GSSAPI",
    0x02: "username/password",
    0x03: "CHAP",
    0x05: "challenge-response",
    0x06: "SSL",
    0x07: "NDS",
    0x08: "multi-authentication framework",
    0x09: "JSON parameter block",
    0xFF: "no acceptable method",
}
_OURS: Final = frozenset((0x00, 0x01, 0x02, 0xFF))


@lru_cache(maxsize=256)
def method_label(code: int) -> str:
    """A method's number and name as a log shows them."""
    name = _REGISTERED.get(code) or ("private" if code >= 0x80 else "unassigned")
    return f"{code:02X} ({name})"


def load_method(name: str) -> Method:
    """A method that an installed package brings.

    Raises ConfigError if there is none of that name, if it fails to load, or if it takes a number that is not free:
    00, 01, 02 and FF mean something already.
    """
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        known = ", ".join(sorted(("none", "password", "gssapi", *found)))
        raise ConfigError(f"there is no method {name!r}; known: {known}")
    try:
        method: Method = found[name].load()()
        code = method.framing.code
    except Exception as error:
        raise ConfigError(f"the method {name!r} ({found[name].value}) does not load: {error!r}") from error
    if code in _OURS or not 0 <= code <= 0xFF:
        raise ConfigError(f"the method {name!r} takes {method_label(code)}, which is not free: 03 to FE are")
    return method
