"""What a failed set-up tells the user to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hosier.run.obstacles import explain


def failure(number: int, what: str = "unshare") -> OSError:
    return OSError(number, os.strerror(number), what)


def setting(root: Path, name: str, value: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("name", "value", "number", "advice"),
    [
        ("user/max_user_namespaces", "0", errno.ENOSPC, "sysctl -w user.max_user_namespaces=10000"),
        ("user/max_net_namespaces", "0", errno.ENOSPC, "sysctl -w user.max_net_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", errno.EPERM, "sysctl -w kernel.unprivileged_userns_clone=1 (Debian)"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            errno.EACCES,
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_settings_that_forbid_it(tmp_path: Path, name: str, value: str, number: int, advice: str) -> None:
    setting(tmp_path, name, value)
    line = explain(failure(number), is_root=False, root=str(tmp_path))
    assert advice in line
    assert "\n" not in line


def test_what_binds_users_only_is_no_advice_for_root(tmp_path: Path) -> None:
    setting(tmp_path, "kernel/unprivileged_userns_clone", "0")
    assert "--cap-add SYS_ADMIN" in explain(failure(errno.EPERM), is_root=True, root=str(tmp_path))


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(0, "nft: Error: Could not process rule: No such file or directory"), "modprobe"),
        (OSError(0, "nft: Error: Could not process rule: Operation not supported"), "nft_tproxy"),
        (failure(errno.EINVAL), "needs user, network and mount namespaces"),
        (failure(errno.EPERM), "container"),
        (failure(errno.EMFILE, "x"), "cannot be set up: x: Too many open files"),
    ],
)
def test_other_causes(tmp_path: Path, error: OSError, advice: str) -> None:
    assert advice in explain(error, is_root=False, root=str(tmp_path))
