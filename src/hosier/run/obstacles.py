"""Why a system cannot run programs so, and what its owner can do about it."""

import os
from errno import EINVAL, ENOSPC, EPERM
from typing import Final

__all__ = ("explain",)

_SYSCTL: Final = "/proc/sys"
_APPARMOR: Final = "kernel/apparmor_restrict_unprivileged_userns"
_DEBIAN: Final = "kernel/unprivileged_userns_clone"
_LIMITS: Final = ("user/max_user_namespaces", "user/max_net_namespaces", "user/max_mnt_namespaces")


def explain(error: OSError, *, is_root: bool, root: str = _SYSCTL) -> str:
    """One line for an error of the set-up: what is missing, and how to enable it.

    ``root``: where the kernel's settings lie.
    """
    cause = error.strerror or str(error)
    what = f"{error.filename}: {cause}" if error.filename else cause
    for name in _LIMITS:
        if error.errno == ENOSPC and _setting(root, name) == "0":
            dotted = name.replace("/", ".")
            return f"this system allows no namespaces ({dotted} is 0): as root, sysctl -w {dotted}=10000"
    if "nft:" in what and ("No such file or directory" in what or "Operation not supported" in what):
        return f"this kernel cannot capture connections ({what}): it needs the module nft_tproxy; as root, modprobe it"
    if not is_root:
        # Ubuntu's restriction lets the namespace be made and then takes the rights in it away.
        if _setting(root, _APPARMOR) == "1":
            return (
                f"AppArmor keeps ordinary users from using namespaces ({what}): as root, "
                f"sysctl -w {_APPARMOR.replace('/', '.')}=0, or give python3 a profile with 'userns,' (Ubuntu 23.10 on)"
            )
        if _setting(root, _DEBIAN) == "0":
            return (
                f"this system keeps ordinary users from making namespaces ({what}): as root, "
                f"sysctl -w {_DEBIAN.replace('/', '.')}=1 (Debian)"
            )
    if error.errno == EPERM:
        return (
            f"making namespaces is not allowed here ({what}): inside a container, start that with "
            "--cap-add SYS_ADMIN --security-opt seccomp=unconfined; a chroot must be left first"
        )
    if error.errno == EINVAL:
        return f"this kernel has no such namespaces ({what}): it needs user, network and mount namespaces"
    return f"the namespace cannot be set up: {what}"


def _setting(root: str, name: str) -> str | None:
    """The value of a kernel's setting; None where there is none, and then nothing is restricted by it."""
    try:
        with open(os.path.join(root, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None
