"""From what options and a file say to settings and a server: the one place where these are put together."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ..client.egress import Upstreams
from ..engine.egress import MakeEgress
from ..errors import ConfigError
from ..observe.access_log import AccessLog
from ..observe.admin import UNIX, AdminListener
from ..observe.counts import Counts
from ..observe.pages import Overseen, pages_of
from ..observe.prometheus import require_prometheus
from ..observe.writer import LineWriter
from ..server.ledger import Ledger
from ..server.privileges import drop_privileges, hand_over, identity_of
from ..server.server import Server
from .complaints import Complaint
from .contradictions import Values, complaint_against, contradictions, suspects
from .forms import is_list, is_mapping, table_of
from .keys import keys_of
from .lines import KeyPath
from .settings import ServeSettings
from .sources import Sources

__all__ = ("become", "build_admin", "build_egress", "build_server", "build_settings", "open_log", "try_files")


def build_settings(sources: Sources) -> ServeSettings:
    """The settings that options and a file ask for; the rest is as by default.

    Raises ConfigError, with a line for each contradiction, and file, line and key where the file is to blame.
    """
    if sources.file is None:
        return _settings(sources.values)
    if complaints := list(_contradictions(sources)):
        raise ConfigError("\n".join(sources.told(complaints)))
    return _settings(sources.values)


def build_server(settings: ServeSettings, write: Callable[[str], None] | None = None) -> Server:
    """A server that is yet to be started; ``write`` gets the lines of its access log.

    Raises ConfigError, for example if there is no method of a name.
    """
    if settings.admin.places:
        require_prometheus()
    return Server(
        settings,
        on_session_end=None if write is None else AccessLog(settings.log, write),
        counts=Counts() if settings.admin.places else None,
        egress=build_egress(settings),
    )


def build_egress(settings: ServeSettings) -> MakeEgress | None:
    """The way to targets through the upstreams; None: straight out of this machine. Raises ConfigError."""
    return Upstreams(settings.chain) if settings.chain else None


def open_log(settings: ServeSettings, dropped: Callable[[int], object]) -> LineWriter | None:
    """What writes the access log, for a server that is one process; None: there is none.

    Raises ConfigError if its destination cannot be had.
    """
    return settings.log_destination.writer(shared=False, dropped=dropped) if settings.log != "off" else None


def try_files(settings: ServeSettings) -> None:
    """Opens for a moment what each of several workers will open by itself, so that a mistake is told once.

    Raises ConfigError.
    """
    if log := open_log(settings, lambda count: None):
        log.close()
    if settings.budgets and settings.usage_file is not None:
        Ledger(str(settings.usage_file)).close()


def become(settings: ServeSettings) -> None:
    """Gives up the privileges of root, if the settings name somebody without, who gets what root has made: the admin
    socket and the log file. Raises ConfigError."""
    if settings.run_as:
        identity = identity_of(settings.run_as)
        if settings.admin.place.startswith(UNIX):
            hand_over(Path(settings.admin.place.removeprefix(UNIX)), identity)
        if settings.log != "off" and settings.log_file is not None:
            hand_over(Path(settings.log_file), identity)
        drop_privileges(identity)


def build_admin(settings: ServeSettings, overseen: Overseen, version: str) -> AdminListener:
    """The listener for those who run the server, yet to be entered; it has no place if none was asked for."""
    return AdminListener(settings.admin.places, pages_of(overseen, version), settings.admin.token or None)


def _contradictions(sources: Sources) -> Iterator[Complaint]:
    """Tables first, each on its own; then all that is left together."""
    left = dict(sources.values)
    for path, hint, table in _tables(sources.values):
        for paths, reason in contradictions(partial(_made, hint), table):
            yield sources.complaint([(*path, *inner) for inner in paths], reason)
            left.pop(str(path[0]), None)
    if error := complaint_against(_server, left):
        yield sources.complaint([error.at] if error.at else suspects(_server, left, str(error)), str(error))


def _tables(values: Values) -> Iterator[tuple[KeyPath, Any, Values]]:
    """Every table that is a key's value, or in a list or table that is one; with its type."""
    for key in keys_of(ServeSettings):
        if key.name not in values:
            continue
        value = values[key.name]
        if key.table:
            yield (key.name,), key.hint, value
        elif is_list(key.hint) and table_of(inner := get_args(key.hint)[0]):
            yield from (((key.name, index), inner, item) for index, item in enumerate(value))
        elif is_mapping(key.hint) and table_of(inner := get_args(key.hint)[1]):
            yield from (((key.name, name), inner, item) for name, item in value.items())


def _server(values: Values) -> Server:
    return build_server(_settings(values))


def _settings(values: Values) -> ServeSettings:
    settings: ServeSettings = _made(ServeSettings, values)
    return settings


def _made(hint: Any, value: Any) -> Any:
    """A value of the type: tables become the dataclasses whose fields they name."""
    if table := table_of(hint):
        hints = {key.name: key.hint for key in keys_of(table)}
        return table(**{name: _made(hints[name], inner) for name, inner in value.items()})
    if is_list(hint) and table_of(get_args(hint)[0]):
        return [_made(get_args(hint)[0], item) for item in value]
    if is_mapping(hint) and table_of(get_args(hint)[1]):
        return {name: _made(get_args(hint)[1], inner) for name, inner in value.items()}
    return value
