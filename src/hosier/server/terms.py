"""What a server's settings come to before there is any socket: who may come, how, and what they may do.

Made as a whole and taken over as a whole, at the start and for each reload.
"""

import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import TypeVar

from ..auth.base import Method, is_guessable
from ..auth.digests import PasswordDigests
from ..auth.kerberos import KerberosMethod
from ..auth.passwords import PasswordMethod
from ..auth.registry import load_method
from ..auth.users import FixedUsers, Users
from ..auth.watched_users import Proofs, WatchedUsers
from ..errors import ConfigError
from ..policy.accounts import Accounts
from ..policy.rulebook import Rulebook
from ..policy.targets import TargetPolicy
from ..protocol.address import IPV6, Address, parse_address
from ..protocol.auth.base import AuthFraming
from ..protocol.messages import NO_AUTHENTICATION
from .advertise import AdvertisedAddresses
from .gssapi import gssapi_method
from .settings import ListenAddress, ServerSettings, parse_listen

__all__ = ("Terms", "is_local", "protection_of", "rulebook_of")

RulebookT = TypeVar("RulebookT", bound=Rulebook)

_log = logging.getLogger("hosier")


class Terms:
    """Raises ConfigError where the settings cannot be kept: a file that is wrong, a method that there is not.

    Where ``before`` says of users what ``settings`` say, they are the same object: what it knows of passwords stays
    known, and who is being checked goes on. ``passwords``: where those that were shown to be right are remembered, if
    that is shared with other processes.
    """

    def __init__(
        self, settings: ServerSettings, before: "Terms | None" = None, *, passwords: Proofs | None = None
    ) -> None:
        self.settings = settings
        self.users: Users | None
        self._passwords: Proofs | None = passwords if before is None else before._passwords
        self._renew: Callable[[], None] | None = None
        if before is not None and _same_users(before.settings, settings):
            self.users = before.users
            if isinstance(self.users, WatchedUsers):
                self._renew = self.users.read_now()
        else:
            self.users = _users(settings, self._passwords)
        self.methods: Mapping[int, Method | None] = _methods(settings, self.users)
        """By number, in the order of preference; None for method 00."""
        self.unguessable = frozenset(
            code for code, method in self.methods.items() if method is not None and not is_guessable(method)
        )
        """Those whose clients never wait for having failed."""
        self.framings: Mapping[int, AuthFraming] = {
            code: method.framing for code, method in self.methods.items() if method is not None
        }
        self.advertised = AdvertisedAddresses(settings.advertised)
        proven = self.users is not None and (settings.ident or settings.socks4_userid)
        self.admits_socks4 = NO_AUTHENTICATION in self.methods or proven
        self.questions_socks4 = settings.ident or NO_AUTHENTICATION not in self.methods
        """Whether a SOCKS4 client must say more than its request does."""
        self.rulebook = rulebook_of(settings, Rulebook)
        """None: there are no rules."""
        self.accounts = Accounts(settings.accounts)

    def take_over(self, before: "Terms") -> None:
        """These hold from now on, and no others."""
        if self._renew is not None:
            self._renew()
        before.close(self)

    def close(self, others: "Terms | None" = None) -> None:
        """Lets threads end, but for those that others still need; harmless a second time."""
        if self.users is not None and (others is None or others.users is not self.users):
            self.users.close()


def rulebook_of(settings: ServerSettings, kind: type[RulebookT]) -> RulebookT | None:
    """The rules, if there are any, in a rulebook of a kind."""
    if not settings.rules:
        return None
    return kind(
        settings.rules,
        settings.groups,
        listeners=lambda text: map(str, parse_listen(text)),
        otherwise=not settings.is_public,
    )


def protection_of(
    settings: ServerSettings, addresses: Iterable[ListenAddress], *, datagrams: bool = False
) -> TargetPolicy:
    """What is protected whatever the rules say.

    Args:
        addresses: where the server listens.
        datagrams: for those of associations: nobody listens for them at the server's own ports, which are TCP's.
    """
    own = () if datagrams else (*addresses, *settings.own_places)
    return TargetPolicy(
        protect=settings.is_public,
        allow=settings.allow,
        deny=settings.deny,
        listeners=[parse_address(*address) for address in own],
        is_local=is_local,
    )


def is_local(address: Address) -> bool:
    """Whether the machine answers to an address: whether one can bind to it."""
    family = socket.AF_INET6 if address.kind == IPV6 else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind((address.host, 0))
        except OSError:
            return False
    return True


def _same_users(before: ServerSettings, after: ServerSettings) -> bool:
    return (before.users, before.users_file) == (after.users, after.users_file)


def _users(settings: ServerSettings, passwords: Proofs | None) -> Users | None:
    fixed = {user.encode(): password.encode() for user, password in settings.users.items()}
    if settings.users_file is not None:
        return WatchedUsers(str(settings.users_file), PasswordDigests(fixed), _warn, shared=passwords)
    return FixedUsers(fixed) if fixed else None


def _methods(settings: ServerSettings, users: Users | None) -> dict[int, Method | None]:
    methods: dict[int, Method | None] = {}
    for name in settings.effective_methods:
        if name == "none":
            methods[NO_AUTHENTICATION] = None
            continue
        method = _method(name, settings, users)
        taken = methods.get(method.framing.code)
        if taken is not None:
            raise ConfigError(f"the methods {taken.name!r} and {name!r} take the same number")
        methods[method.framing.code] = method
    return methods


def _method(name: str, settings: ServerSettings, users: Users | None) -> Method:
    if name == PasswordMethod.name:
        return PasswordMethod(users, strict=settings.strict)
    return gssapi_method(settings.gssapi) if name == KerberosMethod.name else load_method(name)


def _warn(line: str) -> None:
    _log.warning("%s", line)
