"""Privileges given up: user, groups and all, without a way back."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from hosier.errors import ConfigError
from hosier.server.privileges import SystemUser, drop_privileges, hand_over, identity_of

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to give up")

DROP = """
import os, sys
from hosier.server.privileges import drop_privileges, identity_of
os.setgroups([0, 1, 2, 3])
drop_privileges(identity_of(sys.argv[1]))
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))
for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: open("/etc/shadow")):
    try:
        call()
    except PermissionError:
        print("no")
"""


@needs_root
@pytest.mark.parametrize("text", ["nobody", "nobody:daemon"])
def test_nothing_is_left(text: str) -> None:
    identity = identity_of(text)
    done = subprocess.run([sys.executable, "-c", DROP, text], capture_output=True, text=True, check=True)
    groups = sorted({identity.gid, *os.getgrouplist("nobody", identity.gid)})
    assert done.stdout.splitlines() == [
        f"{(identity.uid,) * 3} {(identity.gid,) * 3} {groups}",
        *["no"] * 4,
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nobody-of-that-name", "there is no user 'nobody-of-that-name' on this machine"),
        ("nobody:no-such-group", "there is no group 'no-such-group' on this machine"),
        ("nobody:", "there is no group '' on this machine"),
        ("root", "'root' has all privileges: name a user without"),
    ],
)
def test_identities_that_are_none(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{complaint}"):
        identity_of(text)


def test_where_there_are_no_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pwd", None)
    with pytest.raises(ConfigError, match="no users to change to"):
        identity_of("nobody")


class System:
    """A system on which giving up does not work as it should."""

    uid = gid = (65534,) * 3
    groups: tuple[int, ...] = (65534,)
    returns = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, fake in {
            "initgroups": lambda name, gid: None,
            "setresgid": lambda *gids: None,
            "setresuid": lambda *uids: None,
            "getresuid": lambda: self.uid,
            "getresgid": lambda: self.gid,
            "getgroups": lambda: list(self.groups),
            "getgrouplist": lambda name, gid: [65534],
            "setuid": self.setuid,
        }.items():
            monkeypatch.setattr(os, name, fake)

    def setuid(self, _: int) -> None:
        if not self.returns:
            raise PermissionError


@pytest.mark.parametrize(
    "fault",
    [{"uid": (65534, 65534, 0)}, {"gid": (65534, 0, 65534)}, {"groups": (65534, 0)}, {"returns": True}],
    ids=lambda fault: next(iter(fault)),
)
def test_what_did_not_work_is_noticed(fault: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    system = System()
    system.install(monkeypatch)
    drop_privileges(SystemUser("nobody", 65534, 65534))  # the counter-check
    for name, value in fault.items():
        setattr(system, name, value)
    with pytest.raises(ConfigError, match="could not be given up for 'nobody'"):
        drop_privileges(SystemUser("nobody", 65534, 65534))


def test_who_has_none_cannot_become_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    def initgroups(name: str, gid: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "initgroups", initgroups)
    with pytest.raises(ConfigError, match=r"^only root can become 'nobody': leave"):
        drop_privileges(SystemUser("nobody", 65534, 65534))


def test_a_system_without_saved_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS: there setgid and setuid of root change all of them."""
    done: list[object] = []
    me = [0, 0]

    def setgid(gid: int) -> None:
        done.append(("group", gid))
        me[1] = gid

    def setuid(uid: int) -> None:
        if me[0]:
            raise PermissionError
        done.append(("user", uid))
        me[0] = uid

    for name in ("setresuid", "setresgid", "getresuid", "getresgid"):
        monkeypatch.delattr(os, name)
    for name, value in (("setgid", setgid), ("setuid", setuid), ("initgroups", lambda *_: done.append("groups"))):
        monkeypatch.setattr(os, name, value)
    for name, index in (("getuid", 0), ("geteuid", 0), ("getgid", 1), ("getegid", 1)):
        monkeypatch.setattr(os, name, partial(me.__getitem__, index))
    monkeypatch.setattr(os, "getgroups", lambda: [60])
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [60])
    drop_privileges(SystemUser("somebody", 50, 60))
    assert done == ["groups", ("group", 60), ("user", 50)]


def test_an_id_that_the_container_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "initgroups", refuse)
    with pytest.raises(ConfigError, match=r"^cannot become 'somebody': Invalid argument$"):
        drop_privileges(SystemUser("somebody", 1 << 30, 60))


@needs_root
def test_what_root_has_made_is_handed_over(tmp_path: Path) -> None:
    """A file and a socket; no link's target, and nothing that is not there."""
    nobody = identity_of("nobody")
    log, place, other = (tmp_path / name for name in ("log", "socket", "other"))
    log.touch()
    other.touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place))
    (tmp_path / "symbolic").symlink_to(other)
    (tmp_path / "hard").hardlink_to(other)
    for name in ("log", "socket", "symbolic", "hard", "none"):
        hand_over(tmp_path / name, nobody)
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in (log, place, other)]
    assert owners == [(nobody.uid, nobody.gid)] * 2 + [(0, 0)]
