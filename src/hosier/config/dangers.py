"""Choices that are allowed and dangerous, or come to nothing, so that nobody makes them unawares."""

import stat
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final, get_args

from ..auth.users_file import read_users
from ..errors import ConfigError
from ..policy.rules import is_protected
from .complaints import Complaint, dotted
from .forms import is_list, is_mapping, table_of
from .keys import keys_of
from .lines import KeyPath
from .load import ConfigFile
from .secrets import Secret
from .settings import ServeSettings
from .sources import Sources
from .vain_rules import vain_rules

__all__ = ("dangers",)

# Where cloud providers hand keys and passwords to whoever asks from inside.
_METADATA: Final = tuple(map(ip_address, ("169.254.169.254", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))
_LOOPBACK: Final = tuple(map(ip_address, ("127.0.0.1", "::1")))

_OF_THE_USERS: Final = frozenset(("none", "password"))
"""Methods with which a client is one of ``users`` or ``users_file``, or nobody."""

_MOST_UNKNOWN: Final = 8
"""Names without a user that have a line each."""

_SHORT_PASSWORD: Final = 8
_LONG_HANDSHAKE: Final = 120.0

Found = Iterator[tuple[KeyPath, str]]


def dangers(settings: ServeSettings, sources: Sources) -> list[Complaint]:
    """A warning for each dangerous choice, by the key that makes it."""
    warnings = []
    found = (
        *(*_towards_strangers(settings), *_patience(settings), *_kerberos(settings)),
        *(*_nobody(settings), *vain_rules(settings)),
    )
    for path, what in found:
        warning = sources.complaint([path], what)
        warnings.append(warning if warning.path else Complaint(None, f"{dotted(path)}: {what}"))
    return warnings if sources.file is None else [*warnings, *_open_files(sources.file)]


def _towards_strangers(settings: ServeSettings) -> Found:
    if not settings.is_public:
        return
    if "none" in settings.effective_methods:
        yield ("open",), "this is an open proxy: whoever reaches its port can use it, in your name"
    for path, network in _opened(settings):
        if any(address in network for address in _METADATA):
            yield path, f"{network} holds cloud metadata: clients can ask for this machine's keys"
        if any(address in network for address in _LOOPBACK):
            yield path, f"{network} holds loopback: clients reach what this machine offers only to itself"
    if any(proxy.remote_dns for proxy in settings.chain[-1:]):
        yield ("upstream",), "what names stand for is seen by the last upstream only: it must protect inner networks"
    for name, password in settings.users.items():
        if len(password) < _SHORT_PASSWORD:
            yield ("users", name), f"a password of less than {_SHORT_PASSWORD} characters is soon guessed"


def _opened(settings: ServeSettings) -> Iterator[tuple[KeyPath, IPv4Network | IPv6Network]]:
    """Networks that would be protected."""
    for index, network in enumerate(settings.allow):
        yield ("allow", index), network
    for index, rule in enumerate(settings.rules):
        for at, network in enumerate(rule.networks or ()):
            if rule.action == "allow" and is_protected(network):
                yield ("rules", index, "networks", at), network


def _patience(settings: ServeSettings) -> Found:
    seconds = settings.limits.handshake
    if seconds > _LONG_HANDSHAKE:
        yield ("limits", "handshake"), f"whoever connects and says nothing holds a session for {seconds:g} seconds"


def _kerberos(settings: ServeSettings) -> Found:
    if 0 in settings.gssapi.levels:
        yield (
            ("gssapi", "levels"),
            "level 0 protects nothing once the ticket is checked: payload can be read and changed",
        )
    if settings.gssapi.nec:
        yield ("gssapi", "nec"), "whoever is on the way can lower a level that is sent unprotected"


# --- users whom nobody can be ---


def _nobody(settings: ServeSettings) -> Found:
    """Names that no client can have. Where Kerberos or a package's method says who a client is, any name can be."""
    if not set(settings.effective_methods) <= _OF_THE_USERS or (settings.ident and not settings.has_users):
        return
    known = _known_users(settings)
    if known is None:
        return
    unknown = [(path, user) for path, user in _named_users(settings) if user not in known]
    why = "add it to the users" if known else "no client has a name here"
    for path, user in unknown[:_MOST_UNKNOWN]:
        yield path, f"there is no user {user!r}: {why}"
    if more := unknown[_MOST_UNKNOWN:]:
        yield more[0][0], f"nor are {len(more)} others users that are named from here on"


def _named_users(settings: ServeSettings) -> Iterator[tuple[KeyPath, str]]:
    for user in settings.accounts:
        yield ("accounts", user), user
    for group, members in settings.groups.items():
        for at, user in enumerate(members):
            yield ("groups", group, at), user
    for index, rule in enumerate(settings.rules):
        for at, user in enumerate(rule.users or ()):
            yield ("rules", index, "users", at), user


def _known_users(settings: ServeSettings) -> set[str] | None:
    """All that there are; None: they cannot be read here and now."""
    known = set(settings.users)
    if settings.users_file is not None:
        try:
            names = read_users(str(settings.users_file))
        except (OSError, ConfigError):
            return None
        known.update(name.decode("utf-8", "backslashreplace") for name in names)
    return known


# --- files that others can read or change ---


def _open_files(file: ConfigFile) -> Iterator[Complaint]:
    if _mode(file.path) & stat.S_IWOTH:
        yield Complaint((), f"everybody on this machine can change it: chmod o-w {file.path}")
    for path, given in _secrets(ServeSettings, file.written, ()):
        place = file.path
        if isinstance(given, Mapping):
            if "file" not in given:
                continue
            place = file.path.parent / Path(given["file"]).expanduser()
        if _mode(place) & stat.S_IROTH:
            yield Complaint(path, f"everybody on this machine can read this secret: chmod o-r {place}")


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0  # gone since it was read


def _secrets(hint: Any, written: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Every secret that the file holds or points to, as TOML has it."""
    if hint is Secret:
        yield path, written
    elif table := table_of(hint):
        for key in keys_of(table):
            if key.name in written:
                yield from _secrets(key.hint, written[key.name], (*path, key.name))
    elif is_mapping(hint):
        for name, inner in written.items():
            yield from _secrets(get_args(hint)[1], inner, (*path, name))
    elif is_list(hint):
        for index, item in enumerate(written):
            yield from _secrets(get_args(hint)[0], item, (*path, index))
