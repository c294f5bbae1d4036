"""A network in which programs of one family need gateways: two clients, three gateways and two servers on one wire.

The clients have no route to the servers, and one family each; so have the servers. The first gateway speaks IPv6 with
the second, which speaks IPv4 with the third. Names are known to one gateway each, so who looks them up shows.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from .harness import run
from .namespaces import Machine, need_namespaces

PORT: Final = 7000
"""Of the servers, see ``two_families_server``."""

ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "client4": ("10.1.0.4/24",),
    "client6": ("fd01::6/64",),
    "one": ("10.1.0.1/24", "fd01::1/64", "10.2.0.1/24", "fd02::1/64"),
    "two": ("fd01::2/64", "10.3.0.2/24", "10.2.0.2/24", "fd02::2/64"),
    "three": ("10.3.0.3/24", "10.2.0.3/24", "fd02::3/64"),
    "server4": ("10.2.0.4/24",),
    "server6": ("fd02::6/64",),
}
SERVERS: Final = {4: "10.2.0.4", 6: "fd02::6"}
CLIENT_SIDE: Final = {4: "10.1.0.1", 6: "fd01::1"}
"""Where clients of a family reach the first gateway."""

FAR_SIDE: Final = {
    "one": {4: "10.2.0.1", 6: "fd02::1"},
    "two": {4: "10.2.0.2", 6: "fd02::2"},
    "three": {4: "10.2.0.3", 6: "fd02::3"},
}
"""Where each gateway comes from, towards servers of a family."""

CHAINS: Final[Mapping[str, tuple[int, str, tuple[str, ...]]]] = {
    "one gateway": (1081, "one", ()),
    "two gateways": (1082, "two", ("socks5h://[fd01::2]:1081",)),
    "three gateways": (1083, "three", ("socks5h://[fd01::2]:1082",)),
    "a chain of one gateway's": (1084, "three", ("socks5h://[fd01::2]:1081", "socks5h://ann:sesame@10.3.0.3:1082")),
}
"""The port of the first gateway, the last gateway, and the first one's upstreams."""


def names_of(gateway: str) -> str:
    """What one gateway knows, as a hosts file has it."""
    four, six = SERVERS[4], SERVERS[6]
    return f"{four} server4.{gateway} both.{gateway}\n{six} server6.{gateway} both.{gateway}\n127.0.0.1 localhost\n"


@contextmanager
def network() -> Iterator[dict[str, Machine]]:
    """The machines by name, with their wire and nothing running."""
    need_namespaces()
    hub = Machine(f"hosier-hub-{os.getpid()}", [])
    found = {name: Machine(f"hosier-{name}-{os.getpid()}", addresses) for name, addresses in ADDRESSES.items()}
    with ExitStack() as stack:
        for machine in (hub, *found.values()):
            run(["ip", "netns", "add", machine.name])
            stack.callback(run, ["ip", "netns", "delete", machine.name])
        run(["ip", "-n", hub.name, "link", "add", "wire", "type", "bridge"])
        run(["ip", "-n", hub.name, "link", "set", "wire", "up"])
        for name, machine in found.items():
            _plug_in(hub, name, machine)
            files = Path("/etc/netns") / machine.name  # `ip netns exec` lays them over /etc
            files.mkdir(parents=True)
            stack.callback(shutil.rmtree, files)
            (files / "hosts").write_text(names_of(name), encoding="utf-8")
            (files / "nsswitch.conf").write_text("hosts: files\n", encoding="utf-8")
        yield found


def _plug_in(hub: Machine, name: str, machine: Machine) -> None:
    if name.endswith("4"):
        run(machine.command("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"))
    run(["ip", "link", "add", name, "netns", hub.name, "type", "veth", "peer", "name", "wire", "netns", machine.name])
    run(["ip", "-n", hub.name, "link", "set", name, "master", "wire", "up"])
    for address in machine.addresses:
        nodad = ("nodad",) if ":" in address else ()
        run(["ip", "-n", machine.name, "address", "add", address, "dev", "wire", *nodad])
    for link in ("lo", "wire"):
        run(["ip", "-n", machine.name, "link", "set", link, "up"])


@contextmanager
def gateways_and_servers() -> Iterator[dict[str, Machine]]:
    """The network with everything running that ``CHAINS`` needs."""
    with network() as found, ExitStack() as stack:

        def serve(name: str, port: int, *options: str) -> None:
            told = ("serve", "--listen", f"*:{port}", "--log", "off", "--allow", "10.0.0.0/8", "--allow", "fd00::/8")
            daemon = found[name].daemon(sys.executable, "-m", "hosier", *told, *options, port=port)
            stack.enter_context(daemon)

        for family in (4, 6):
            program = (sys.executable, "-m", "tests.real.two_families_server", SERVERS[family])
            stack.enter_context(found[f"server{family}"].daemon(*program, port=PORT))
        serve("three", 1081, "--open")
        serve("three", 1082, "--user", "ann:sesame")
        serve("two", 1081, "--open")
        serve("two", 1082, "--open", "--upstream", "socks5h://10.3.0.3:1081")
        for port, _, upstreams in CHAINS.values():
            serve("one", port, "--open", *(f"--upstream={url}" for url in upstreams))
        yield found
