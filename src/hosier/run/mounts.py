"""The file system inside: everything as outside, but for what would lead look-ups past our name server.

- ``resolv.conf`` names our own address and no search list: a server of a link that is not there would fail, and
  a search list would be wrong, since every name is answered.
- ``nsswitch.conf`` asks ``files`` and ``dns`` only: no daemon on a unix socket.
- ``hosts`` keeps its loopback lines; for all others the proxy is told the name.
- The folders of the sockets of nscd, systemd-resolved and Avahi are empty: the first of them glibc asks before it reads
  ``nsswitch.conf``.

The covers lie on a file system of their own, which is mounted nowhere else: its end is the end of the namespace.
"""

import os
from ipaddress import ip_address
from typing import Final

from ..errors import ConfigError
from . import kernel
from .network import OWN_IPV4, OWN_IPV6

__all__ = ("cover", "hosts", "nsswitch", "resolv_conf")

MASKED: Final = ("/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon")

_SCRATCH: Final = "/tmp"  # noqa: S108  # a place that is there, for a moment and in sight of nobody
_TMPFS: Final = "size=1m,mode=755"


def cover(*, ipv6: bool) -> int:
    """Puts the covers on, in a mount namespace that is this process's own.

    Returns a descriptor that is readable when the namespace has ended. Raises OSError; ConfigError where there is
    nothing to cover.
    """
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)  # what is mounted outside later shows here, too
    files = {
        os.path.realpath("/etc/resolv.conf"): resolv_conf(ipv6=ipv6),
        os.path.realpath("/etc/nsswitch.conf"): nsswitch(_read("/etc/nsswitch.conf")),
        os.path.realpath("/etc/hosts"): hosts(_read("/etc/hosts")),
    }
    folders = {real for path in MASKED if os.path.isdir(real := os.path.realpath(path))}
    present = {path: text for path, text in files.items() if os.path.isfile(path)}
    if not present:
        raise ConfigError("there is neither /etc/resolv.conf nor /etc/nsswitch.conf nor /etc/hosts to stand in for")
    kernel.mount("hosier", _SCRATCH, "tmpfs", 0, _TMPFS)
    try:
        for number, folder in enumerate(folders):
            empty = f"{_SCRATCH}/folder{number}"
            os.mkdir(empty)
            for path, text in present.items():
                if os.path.dirname(path) == folder:  # /etc/resolv.conf is often a link into such a folder
                    _write(f"{empty}/{os.path.basename(path)}", text)
            kernel.mount(empty, folder, "", kernel.MS_BIND)
        for number, (path, text) in enumerate(present.items()):
            if os.path.dirname(path) not in folders:
                own = f"{_SCRATCH}/file{number}"
                _write(own, text)
                kernel.mount(own, path, "", kernel.MS_BIND)
        return kernel.watch_until_unmounted(_SCRATCH)
    finally:
        kernel.unmount(_SCRATCH)


def resolv_conf(*, ipv6: bool) -> str:
    servers = [OWN_IPV4, OWN_IPV6] if ipv6 else [OWN_IPV4]
    # Without a search list of our own, the resolver would make one of the machine's name.
    return "".join(f"nameserver {server}\n" for server in servers) + "search .\n"


def nsswitch(original: str) -> str:
    """The same, but for where hosts are looked up."""
    lines = [line for line in original.splitlines() if line.partition(":")[0].strip() != "hosts"]
    return "\n".join([*lines, "hosts: files dns", ""])


def hosts(original: str) -> str:
    """The lines of loopback addresses; ``localhost`` in any case."""
    kept = [line for line in original.splitlines() if _is_loopback(line.split()[:1])]
    names = {name for line in kept for name in line.partition("#")[0].split()[1:]}
    if "localhost" not in names:
        kept += ["127.0.0.1 localhost", "::1 localhost"]
    return "\n".join([*kept, ""])


# --- private ---


def _is_loopback(words: list[str]) -> bool:
    try:
        return bool(words) and ip_address(words[0]).is_loopback
    except ValueError:
        return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
