"""Whether this system can run programs so: every step of ``launch`` but the last, in a process that then ends."""

import os
from collections.abc import Callable

from ..errors import ConfigError
from .doors import open_doors
from .launch import require_parts
from .mounts import cover
from .namespace import UserMaps, enter_network, enter_user_namespace
from .obstacles import explain

__all__ = ("check",)


def check(say: Callable[[str], object]) -> int:
    """Says what works, a line each; 0 if everything does, else 2 after a line on standard error.

    Raises ConfigError for what is not installed.
    """
    require_parts()
    say("installed: dnspython, ip, nft")
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = _rehearse(say)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _rehearse(say: Callable[[str], object]) -> int:
    identity = UserMaps.of_this_process()
    try:
        enter_user_namespace(identity.outer, is_root=identity.is_root)
        say(f"user namespace: {'all users' if identity.is_root else 'this user alone'}")
        ipv6, held = enter_network(held=True, shared_loopback=False)
        say(f"network: IPv4{' and IPv6' if ipv6 else ' alone'}, captured by nft")
        end = cover(ipv6=ipv6)
        say("names: the files and sockets that lead past our name server are covered")
        open_doors(ipv6=ipv6, held=held, end=end)
        say(
            "connect() tells the truth: handshakes wait for the proxy"
            if held
            else "connect() succeeds at once, and a refusal is a reset: this kernel has no packet sockets"
        )
        enter_user_namespace(identity.inner, is_root=identity.is_root)
    except (OSError, ConfigError) as error:
        line = explain(error, is_root=identity.is_root) if isinstance(error, OSError) else str(error)
        os.write(2, f"hosier: {line}\n".encode())
        return 2
    say("hosier run works here")
    return 0
