"""Files that the server will write and read: whether it will be able to, as far as that can be seen beforehand.

No file is opened and none made. Where it cannot write or read one, a server that starts says so and ends.
"""

import os
from collections.abc import Iterator
from os.path import exists, isdir  # pathlib's raise an error where one may not look
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from ..observe.admin import UNIX
from ..server.privileges import SystemUser, identity_of
from .lines import KeyPath
from .settings import ServeSettings

__all__ = ("unusable_places",)

_ENTER_AND_CHANGE: Final = os.W_OK | os.X_OK

Found = Iterator[tuple[KeyPath, str]]


def unusable_places(settings: ServeSettings) -> Found:
    """What is wrong with a place, by the key that names it."""
    becomes = None
    try:
        becomes = identity_of(settings.run_as) if settings.run_as else None
    except ConfigError as error:
        yield ("run_as",), str(error)
    later, first = _Rights(becomes), _Rights(None)
    if settings.budgets and settings.usage_file is not None:
        # SQLite has two more files beside it.
        path = Path(settings.usage_file)
        yield from _told(("usage_file",), later.against_new_files(path) or later.against_writing(path))
    if settings.log != "off" and settings.log_file is not None:
        several = settings.workers != 1
        yield from _told(("log_file",), _against_log(Path(settings.log_file), later if several else first, later))
    if settings.admin.place.startswith(UNIX):
        socket = Path(settings.admin.place.removeprefix(UNIX))
        yield from _told(("admin", "place"), first.against_new_files(socket))
    if becomes is not None:
        if settings.users_file is not None:
            yield from _told(("users_file",), later.against_reading(Path(settings.users_file)))
        if settings.gssapi.enabled and settings.gssapi.keytab is not None:
            yield from _told(("gssapi", "keytab"), later.against_reading(settings.gssapi.keytab))


def _told(path: KeyPath, what: str) -> Found:
    if what:
        yield path, what


def _against_log(path: Path, opens: "_Rights", reopens: "_Rights") -> str:
    """What is against opening it at the start, or anew once it was moved away."""
    wrong = opens.against_writing(path) if exists(path) else opens.against_new_files(path)
    if wrong or opens is reopens or (exists(path) and not reopens.against_writing(path)):
        return wrong
    if reopens.against_new_files(path):
        return (
            f"{reopens.name} may not make it anew in {path.absolute().parent} after SIGUSR1: have it made for "
            f"{reopens.name} when it is moved away (logrotate: create)"
        )
    return ""


class _Rights:
    """What one user may do with files; None: whoever this process is."""

    def __init__(self, user: SystemUser | None) -> None:
        self._user = user
        self._groups = set() if user is None else {user.gid, *os.getgrouplist(user.name, user.gid)}
        self.name = "this user" if user is None else user.name

    def against_new_files(self, path: Path) -> str:
        """What is against making files beside this one, in a few words; empty: nothing."""
        folder = path.absolute().parent
        if not isdir(folder):
            return f"the folder {folder} cannot be found: make it"
        return "" if self._may(folder, _ENTER_AND_CHANGE) else f"{self.name} may not make files in {folder}"

    def against_writing(self, path: Path) -> str:
        if isdir(path):
            return f"{path} is a folder: name a file in it"
        return "" if not exists(path) or self._may(path, os.W_OK) else f"{self.name} may not write to {path}"

    def against_reading(self, path: Path) -> str:
        return "" if self._may(path, os.R_OK) else f"{self.name} may not read {path}"

    # --- private ---

    def _may(self, path: Path, wanted: int) -> bool:
        path = path.absolute()
        if self._user is None:
            return os.access(path, wanted)
        try:
            return all(self._allows(folder, os.X_OK) for folder in path.parents) and self._allows(path, wanted)
        except OSError:
            return True  # we may not look there ourselves, and so know nothing

    def _allows(self, path: Path, wanted: int) -> bool:
        """By the mode, whose bits are those of ``os.access``. Raises OSError."""
        assert self._user is not None  # else the system is asked
        status = path.stat()
        shift = 6 if status.st_uid == self._user.uid else 3 if status.st_gid in self._groups else 0
        return status.st_mode >> shift & wanted == wanted
