"""What the server will not be able to write or read is told before it starts, by the key that names it."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosier.config.places import unusable_places
from hosier.config.settings import AdminSettings, ServeSettings
from hosier.policy.budgets import Budget
from hosier.server import privileges
from hosier.server.gssapi import GssapiSettings

BUDGETS = {"month": Budget(octets="1GB", period="month")}
NOBODY = "nobody"


def found(**fields: Any) -> dict[tuple[str | int, ...], str]:
    return dict(unusable_places(ServeSettings(**fields)))


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that is its owner's alone, and all above it everybody's."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        place = Path(above, "place")
        place.mkdir(mode=0o700)
        yield place
        place.chmod(0o700)


def test_nothing_is_wrong_where_nothing_is_named() -> None:
    assert found() == {}
    assert found(admin=AdminSettings(place="127.0.0.1:9180")) == {}


def test_places_that_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "old.log").touch()
    for log in ("new.log", "old.log"):
        settings: dict[str, Any] = {
            "budgets": BUDGETS,
            "usage_file": tmp_path / "usage.db",
            "log_file": tmp_path / log,
            "admin": AdminSettings(place=f"unix:{tmp_path}/admin"),
        }
        for workers in (1, 2):
            assert found(**settings, workers=workers) == {}
    assert list(tmp_path.iterdir()) == [tmp_path / "old.log"]


def test_folders_that_there_are_not(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    what = f"the folder {nowhere} cannot be found: make it"
    admin = AdminSettings(place=f"unix:{nowhere}/admin")
    told = found(budgets=BUDGETS, usage_file=nowhere / "usage.db", log_file=str(nowhere / "log"), admin=admin)
    assert told == {("usage_file",): what, ("log_file",): what, ("admin", "place"): what}
    assert found(usage_file=nowhere / "usage.db", log="off", log_file=nowhere / "log") == {}, "nobody writes there"


def test_folders_in_the_place_of_files(tmp_path: Path) -> None:
    what = f"{tmp_path} is a folder: name a file in it"
    assert found(budgets=BUDGETS, usage_file=tmp_path, log_file=tmp_path) == {
        ("usage_file",): what,
        ("log_file",): what,
    }


def test_seen_from_the_folder_where_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(log_file="log") == {}
    assert found(log_file="nowhere/log") == {("log_file",): f"the folder {tmp_path}/nowhere cannot be found: make it"}


def test_what_this_user_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may everything, so the system's answer is put in its mouth."""
    log = tmp_path / "log"
    asked: list[tuple[Path, int]] = []

    def access(path: Path, wanted: int) -> bool:
        asked.append((path, wanted))
        return False

    monkeypatch.setattr(os, "access", access)
    assert found(log_file=log) == {("log_file",): f"this user may not make files in {tmp_path}"}
    log.touch()
    assert found(log_file=log) == {("log_file",): f"this user may not write to {log}"}
    assert asked == [(tmp_path, os.W_OK | os.X_OK), (log, os.W_OK)]


def test_who_is_to_be_does_not_exist(tmp_path: Path) -> None:
    told = found(run_as="nobody-of-that-name", log_file=tmp_path / "nowhere" / "log")
    assert told == {
        ("run_as",): "there is no user 'nobody-of-that-name' on this machine",
        ("log_file",): f"the folder {tmp_path}/nowhere cannot be found: make it",
    }


# --- whom the server is to be ---


def test_what_who_it_becomes_may_not(folder: Path) -> None:
    """What is opened after the change must be that user's; a socket of the admin pages is opened before."""
    users, keys = folder / "users", folder / "keytab"
    for file in (users, keys):
        file.touch(0o600)
    told = found(
        run_as=NOBODY,
        budgets=BUDGETS,
        usage_file=folder / "usage.db",
        users_file=users,
        gssapi=GssapiSettings(enabled=True, keytab=keys),
        admin=AdminSettings(place=f"unix:{folder}/admin"),
    )
    assert told == {
        ("usage_file",): f"nobody may not make files in {folder}",
        ("users_file",): f"nobody may not read {users}",
        ("gssapi", "keytab"): f"nobody may not read {keys}",
    }


def test_what_everybody_may_nobody_may(folder: Path) -> None:
    folder.chmod(0o777)
    usage = folder / "usage.db"
    usage.touch()
    usage.chmod(0o666)
    assert found(run_as=NOBODY, budgets=BUDGETS, usage_file=usage, log_file=folder / "log", workers=2) == {}
    usage.chmod(0o664)
    assert found(run_as=NOBODY, budgets=BUDGETS, usage_file=usage) == {
        ("usage_file",): f"nobody may not write to {usage}"
    }


def test_the_way_to_a_file_must_be_open_too(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    inner.chmod(0o777)
    told = found(run_as=NOBODY, log_file=inner / "log", workers=2)
    assert told == {("log_file",): f"nobody may not make files in {inner}"}


def test_owner_and_group_have_bits_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system does it: who owns a folder is asked no other bits."""
    status = folder.stat()
    for uid, gid, mode, may in (
        (status.st_uid, 65534, 0o700, True),
        (status.st_uid, 65534, 0o077, False),
        (12345, status.st_gid, 0o070, True),
        (12345, status.st_gid, 0o707, False),
    ):
        folder.chmod(mode)
        user = privileges.SystemUser(pwd.getpwuid(65534).pw_name, uid, gid)
        monkeypatch.setattr("hosier.config.places.identity_of", lambda _, user=user: user)
        monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid])
        assert (found(run_as="x", log_file=folder / "log", workers="auto") == {}) is may


def test_a_log_that_cannot_be_made_anew(folder: Path) -> None:
    """One process opens it as root, at its start; after SIGUSR1 it is no longer root."""
    log = folder / "log"
    advice = {
        (
            "log_file",
        ): f"nobody may not make it anew in {folder} after SIGUSR1: have it made for nobody when it is moved "
        "away (logrotate: create)"
    }
    assert found(run_as=NOBODY, log_file=log) == advice
    log.touch()
    log.chmod(0o644)
    assert found(run_as=NOBODY, log_file=log) == advice
    folder.chmod(0o755)
    log.chmod(0o666)
    assert found(run_as=NOBODY, log_file=log) == {}, "whoever made it for nobody does so again"
    log.chmod(0o600)
    folder.chmod(0o777)
    assert found(run_as=NOBODY, log_file=log) == {}
    assert found(run_as=NOBODY, log_file=log, workers=2) == {("log_file",): f"nobody may not write to {log}"}


def test_where_we_may_not_look_nothing_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: Path) -> os.stat_result:
        raise PermissionError

    log = folder / "log"
    monkeypatch.setattr(Path, "stat", stat)
    assert found(run_as=NOBODY, log_file=log, workers=2) == {}


def test_a_socket_of_an_earlier_server_is_in_nobody_s_way(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as earlier:
        earlier.bind(str(tmp_path / "admin"))
        assert found(admin=AdminSettings(place=f"unix:{tmp_path}/admin")) == {}
