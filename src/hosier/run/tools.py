"""The programs that set a network up: ``ip`` and ``nft``. They are fed and heard through files in memory."""

import os
from collections.abc import Sequence
from typing import Final

from ..errors import ConfigError

__all__ = ("PACKAGES", "Tool", "find_tool")

PACKAGES: Final = {"ip": "iproute2 (Fedora: iproute)", "nft": "nftables"}

_SBIN: Final = ("/usr/sbin", "/sbin")  # not in an ordinary user's PATH


def find_tool(name: str) -> str:
    """Where the program is, wherever we are: what lies in the current folder may be anybody's.

    Raises ConfigError, which says how to get it.
    """
    for folder in (*os.environ.get("PATH", os.defpath).split(os.pathsep), *_SBIN):
        path = os.path.join(folder, name)
        if os.path.isabs(folder) and os.access(path, os.X_OK):
            return path
    raise ConfigError(f"the program {name} is missing: install the package {PACKAGES[name]}")


class Tool:
    """A run of a program, from the moment this is made."""

    def __init__(self, name: str, arguments: Sequence[str], text: str) -> None:
        """``text``: its standard input. Raises ConfigError if it is not there."""
        self._name = name
        path = find_tool(name)
        self._said = os.memfd_create("said")
        told = os.memfd_create("told")
        try:
            os.write(told, text.encode())
            os.lseek(told, 0, os.SEEK_SET)
            files = [
                (os.POSIX_SPAWN_DUP2, told, 0),
                (os.POSIX_SPAWN_DUP2, self._said, 1),
                (os.POSIX_SPAWN_DUP2, self._said, 2),
            ]
            self._pid = os.posix_spawn(path, [name, *arguments], {"LC_ALL": "C"}, file_actions=files)
        except BaseException:
            os.close(self._said)
            raise
        finally:
            os.close(told)

    def wait(self) -> None:
        """Until it has done its work. Raises OSError with its first line if it failed."""
        try:
            _, status = os.waitpid(self._pid, 0)
            if status:
                os.lseek(self._said, 0, os.SEEK_SET)
                lines = os.read(self._said, 4096).decode("utf-8", "replace").splitlines()
                raise OSError(0, f"{self._name}: {lines[0] if lines else f'ended with status {status}'}")
        finally:
            os.close(self._said)
