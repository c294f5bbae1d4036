"""Giving privileges up for good: user, groups and all, and looking afterwards whether they are gone."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError

__all__ = ("SystemUser", "drop_privileges", "hand_over", "identity_of")


class SystemUser(NamedTuple):
    """Whom a process is to be."""

    name: str
    uid: int
    gid: int


def identity_of(text: str) -> SystemUser:
    """``USER`` or ``USER:GROUP``, by name. Raises ConfigError."""
    try:
        import grp
        import pwd
    except ImportError:
        raise ConfigError("this system has no users to change to: leave run_as out") from None
    name, colon, group = text.partition(":")
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"there is no user {name!r} on this machine") from None
    try:
        gid = grp.getgrnam(group).gr_gid if colon else user.pw_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r} on this machine") from None
    if user.pw_uid == 0:
        raise ConfigError(f"{name!r} has all privileges: name a user without")
    return SystemUser(name, user.pw_uid, gid)


def drop_privileges(identity: SystemUser) -> None:
    """Makes this process that user, with the user's groups and no others, and makes sure that there is no way back.

    Raises ConfigError if the process may not do that, or if it did not work.
    """
    name, uid, gid = identity
    try:
        os.initgroups(name, gid)  # first: afterwards it would be forbidden
        if hasattr(os, "setresuid"):
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        else:  # macOS: for root these change the saved ids, too
            os.setgid(gid)
            os.setuid(uid)
    except PermissionError:
        raise ConfigError(f"only root can become {name!r}: leave run_as out") from None
    except OSError as error:  # in a container that has no such id
        raise ConfigError(f"cannot become {name!r}: {error.strerror}") from None
    if _ids() != {(uid, gid)} or _has_foreign_groups(identity) or _can_return():
        raise ConfigError(f"the privileges of root could not be given up for {name!r}")


def hand_over(path: Path, identity: SystemUser) -> None:
    """Makes a file or socket that this process has made as root that user's. What is not there, or is a link to
    something else, stays as it is: who may write in the folder must not get other files that way."""
    try:
        status = os.lstat(path)
        if (stat.S_ISREG(status.st_mode) or stat.S_ISSOCK(status.st_mode)) and status.st_nlink == 1:
            os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
    except OSError:
        pass  # then only root uses it, as before


def _ids() -> set[tuple[int, int]]:
    """All pairs of a user and a group that this process is."""
    if hasattr(os, "getresuid"):
        return set(zip(os.getresuid(), os.getresgid(), strict=True))
    return {(os.getuid(), os.getgid()), (os.geteuid(), os.getegid())}


def _has_foreign_groups(identity: SystemUser) -> bool:
    return not set(os.getgroups()) <= {identity.gid, *os.getgrouplist(identity.name, identity.gid)}


def _can_return() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
