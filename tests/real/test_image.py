"""Our image, built by its recipe and run by a program for containers that we did not write.

Only the system that it stands on is our own making: a small Debian out of packages, under the name that the recipe
asks for. So no registry of images is needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import PATIENCE, ROOT, clean_environment, free_port, run, stop, wait_until
from .target import Target

BUILD_PATIENCE = 300.0

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(2 * BUILD_PATIENCE),  # whichever comes first has it built
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make a system in a folder"),
]

RECIPE = ROOT / "deploy" / "Dockerfile"
SYSTEM_PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs")
MOST_OCTETS = 24 << 20
"""What we add to the system."""

Buildah = Callable[..., subprocess.CompletedProcess[bytes]]


def debian() -> tuple[str, str]:
    """The release that runs here, and where its packages come from."""
    told = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\w+)", told, re.MULTILINE)
    assert found is not None
    wanted = ["Created-By: Packages", f"Release: {found[1]}"]
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted])
    return found[1], targets.stdout.decode().split()[0]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where buildah keeps everything, for this module alone."""
    folder = tmp_path_factory.mktemp("images")
    settings = folder / "storage.conf"
    settings.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n')
    yield {"CONTAINERS_STORAGE_CONF": str(settings), "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def buildah(environment: dict[str, str]) -> Buildah:
    def call(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        return run(["buildah", *arguments], env=environment, cwd=ROOT, patience=BUILD_PATIENCE)

    return call


@pytest.fixture(scope="module")
def image(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ours, built from this checkout."""
    system = tmp_path_factory.mktemp("system") / "root"
    release, packages = debian()
    # In a mount namespace of its own, or what it mounts could outlive it, within what is removed afterwards
    making = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={SYSTEM_PACKAGES}"]
    run([*making, release, system, packages], patience=BUILD_PATIENCE)
    shutil.rmtree(system / "dev")
    bare = buildah("from", "scratch").stdout.decode().strip()
    buildah("copy", "--quiet", bare, system, "/")
    shutil.rmtree(system)
    for base in set(re.findall(r"^FROM (\S+)", RECIPE.read_text(encoding="utf-8"), re.MULTILINE)):
        buildah("commit", "--quiet", bare, f"docker.io/library/{base}")
    # What this machine trusts, when it installs packages, holds within as well
    trusted = f"{CERTIFICATES}:{CERTIFICATES}:ro"
    network = ("--network", "host", "--volume", trusted)
    buildah("build", "--quiet", "--pull=never", *network, "--file", RECIPE, "--tag", "hosier", ".")
    return "hosier"


@pytest.fixture
def container(buildah: Buildah, image: str) -> str:
    return buildah("from", "--pull=never", image).stdout.decode().strip()


def test_it_serves_as_a_user_of_its_own(
    container: str, environment: dict[str, str], target: Target, tmp_path: Path
) -> None:
    port = free_port()
    listener = f"127.0.0.1:{port}"
    complete = {**clean_environment(), **environment}
    words = ["buildah", "run", "--env", "HOSIER_PASSWORD=open sesame", container, "--"]
    words += ["hosier", "serve", "--listen", listener, "--user", "ann"]
    said = tmp_path / "said"
    with said.open("wb") as output:
        server = subprocess.Popen(words, env=complete, stdout=output, stderr=output)
    try:
        wait_until(lambda: b"room for" in said.read_bytes() or server.poll() is not None, "it is ready")
        owners = run(["ss", "--no-header", "--listening", "--tcp", "--numeric", "--extended", f"sport = :{port}"])
        assert b" uid:1080 " in owners.stdout, (owners.stdout, said.read_bytes())
        fetch = [
            "curl",
            "--silent",
            "--fail",
            "--proxy",
            f"socks5h://{listener}",
            f"http://127.0.0.1:{target.port}/peer",
        ]
        run([*fetch, "--proxy-user", "ann:open sesame"])
        run([*fetch, "--proxy-user", "ann:wrong"], status=97)
    finally:
        stop(server, PATIENCE)


def test_it_is_small(container: str, buildah: Buildah) -> None:
    added = Path(buildah("mount", container).stdout.decode().strip(), "opt", "hosier")
    try:
        assert sum(path.lstat().st_size for path in added.rglob("*")) < MOST_OCTETS
        assert not list(added.rglob("site-packages/pip"))
    finally:
        buildah("umount", container)
