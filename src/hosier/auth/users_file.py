"""The users file: a line for each user, ``NAME:HASH``; reading it, and changing one line of it.

Lines that are empty or begin with ``#`` are left alone. In a name ``\\xNN`` stands for the octet NN; colons,
backslashes, blanks, control characters and what is no UTF-8 are written so.
"""

import contextlib
import os
import re
import stat
from typing import BinaryIO, Final

from ..errors import ConfigError
from .scrypt import ScryptHash, parse_hash

__all__ = ("Stamp", "change_user", "file_stamp", "is_exposed", "parse_users", "read_users")

_MOST: Final = 16 << 20  # octets: more than 100,000 users

_ODD: Final = re.compile(rb"[\x00-\x20\x7f:\\]")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2}))?")

Stamp = tuple[int, int, int, int]
"""What changes when a file does: its inode, size, and times of change in nanoseconds."""


def file_stamp(path: str) -> Stamp | None:
    """The file's stamp; None if there is no such file, or none that we may see."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_exposed(path: str) -> bool:
    """Whether everybody on the machine can read the file, and try passwords against it at leisure."""
    with contextlib.suppress(OSError):
        return os.name == "posix" and bool(os.stat(path).st_mode & stat.S_IROTH)
    return False


def read_users(path: str) -> dict[bytes, ScryptHash]:
    """The users of a file. Raises ConfigError, in one line, if it cannot be read or one of its lines is wrong."""
    return parse_users(_read(path), path)


def parse_users(data: bytes, where: str) -> dict[bytes, ScryptHash]:
    """The users of a file's content; ``where`` names it in errors. Raises ConfigError."""
    users: dict[bytes, ScryptHash] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            entry = _entry(line)
            if entry is not None and entry[0] in users:
                raise ValueError(f"the user {_shown(entry[0])} is there already")
        except ValueError as error:
            raise ConfigError(f"{where}, line {number}: {error}") from None
        if entry is not None:
            users[entry[0]] = entry[1]
    return users


def change_user(path: str, name: bytes, new: ScryptHash | None) -> str:
    """Adds, changes or, with None, deletes a user; returns which it was: "added", "changed", "deleted".

    The file is replaced as a whole, so whoever reads it sees the old one or the new one. A new file can be read by its
    owner only; otherwise owner and rights stay as they are. Raises ConfigError, with the file unchanged.
    """
    if not 1 <= len(name) <= 255:
        raise ConfigError("a user's name has 1 to 255 octets (RFC 1929)")
    path = os.path.realpath(path)  # of a link, what it leads to
    draft = f"{path}.new"
    try:
        # Who makes it has the file to himself: two changes at once cannot lose one of them.
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise ConfigError(f"somebody else is changing {path}; if not, remove {draft}") from None
    except OSError as error:
        raise ConfigError(f"cannot write {draft}: {error.strerror}") from None
    try:
        with open(fd, "wb") as file:
            what = _write_changed(file, path, name, new)
        os.replace(draft, path)
    except BaseException as error:
        os.unlink(draft)
        if isinstance(error, OSError):
            raise ConfigError(f"cannot change {path}: {error.strerror}") from None
        raise
    return what


# --- private ---


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the users file {path}: {error.strerror}") from None
    if len(data) > _MOST:
        raise ConfigError(f"the users file {path} is larger than {_MOST >> 20} MiB")
    return data


def _entry(line: bytes) -> tuple[bytes, ScryptHash] | None:
    """Name and hash of a line; None if it is for people. Raises ValueError."""
    line = line.strip()
    if not line or line.startswith(b"#"):
        return None
    written, colon, hashed = line.partition(b":")
    if not colon:
        raise ValueError("a user is NAME:HASH; make one with hosier passwd")
    name = _ESCAPE.sub(_octet, written)
    if not 1 <= len(name) <= 255:
        raise ValueError("a user's name has 1 to 255 octets (RFC 1929)")
    return name, parse_hash(hashed.decode("ascii", "replace"))


def _octet(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        raise ValueError(r"in a name, \ is followed by x and two digits; \ itself is \x5c")
    return bytes.fromhex(found[1].decode())


def _written(name: bytes) -> bytes:
    """The name as a line has it."""
    text = _ODD.sub(lambda found: b"\\x%02x" % found[0][0], name)
    if text.startswith(b"#"):
        text = b"\\x23" + text[1:]
    return text.decode("utf-8", "backslashreplace").encode()


def _shown(name: bytes) -> str:
    return _written(name).decode()


def _write_changed(file: BinaryIO, path: str, name: bytes, new: ScryptHash | None) -> str:
    """Writes what the file at ``path`` becomes, down to the disk."""
    data = b""
    if os.path.exists(path):
        data = _read(path)
        _become_like(path, file.fileno())
    data, what = _changed(data, path, name, new)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    return what


def _changed(data: bytes, where: str, name: bytes, new: ScryptHash | None) -> tuple[bytes, str]:
    """The content with one line added, changed or taken out, every other line as it was; and which it was."""
    known = name in parse_users(data, where)  # a broken file is not touched
    if new is None and not known:
        raise ConfigError(f"there is no user {_shown(name)} in {where}")
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    at = len(lines)
    if known:
        at = next(i for i, line in enumerate(lines) if (entry := _entry(line)) is not None and entry[0] == name)
    lines[at : at + 1] = [] if new is None else [b"%s:%s" % (_written(name), str(new).encode())]
    what = "deleted" if new is None else "changed" if known else "added"
    return b"".join(line + b"\n" for line in lines), what


def _become_like(path: str, fd: int) -> None:
    """Gives the open file the other one's owner and rights: a server that could read the old one reads the new one."""
    if hasattr(os, "fchown"):
        found = os.stat(path)
        os.fchown(fd, found.st_uid, found.st_gid)
        os.fchmod(fd, stat.S_IMODE(found.st_mode))
