"""What GSSAPI costs the server: `python benchmarks/gssapi.py`, about five minutes.

Hosier beside Dante, each with Kerberos of a realm that the run makes: CPU per GB at levels 1 and 2, relaying to a
plain target. Hosier alone: CPU per short session beside one without authentication and beside the same GSS calls in a
bare loop; the latency of plain round trips without and beside a flow at level 2. In every round all are measured
once, the transfers in an order that rotates, each on a server started anew, Hosier twice (A/A). Needs what the tests
of GSSAPI need: a KDC, python-gssapi, and Dante built by scripts/build-dante.
"""

import argparse
import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import measure
from generator import HERE, LOAD_CORE, Target, build, job, pin
from gssapi_report import markdown
from peers import SERVER_CORE, Hosier, MissingPeer, Peer, Server, enter, package_version, running

from run import commit, machine

ROOT: Final = HERE.parent
# This folder goes last: from here on "gssapi" is the package, and not this file.
sys.path[:] = [str(ROOT / "src"), str(ROOT), *(path for path in sys.path if Path(path).resolve() != HERE), str(HERE)]

from gssapi_sessions import AT_ONCE, FEW, Methods, prepared, run_sessions, without_authentication  # noqa: E402
from tests.kerberos_realm import Realm  # noqa: E402

import hosier  # noqa: E402

MB: Final = 1_000_000
LEVELS: Final = (1, 2)
TWIN: Final = "hosier (again)"
SOCKD: Final = ROOT / "tests" / "build" / "dante" / "sbin" / "sockd"

DANTE: Final = """logoutput: /dev/null
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: gssapi
clientmethod: none
{users}client pass {{ from: 0/0 to: 0/0
  gssapi.keytab: FILE:{keytab}
  gssapi.servicename: socks/localhost
  gssapi.enctype: integrity confidentiality }}
socks pass {{ from: 0/0 to: 0/0
  socksmethod: gssapi }}
"""


class GssapiHosier(Hosier):
    def __init__(self, name: str = "hosier") -> None:
        # "none" for those that measure without; our client of GSSAPI offers nothing else.
        super().__init__(name, options=("--gssapi", "--method", "gssapi", "--method", "none"))


class GssapiDante(Peer):
    name = "dante"

    def __init__(self, keytab: Path) -> None:
        self._keytab = keytab

    def prepare(self) -> None:
        if not SOCKD.exists():
            raise MissingPeer("Dante with GSSAPI is not built: scripts/build-dante tests/build/dante")

    def command(self, port: int) -> list[str]:
        users = "user.privileged: root\nuser.unprivileged: root\n" if os.geteuid() == 0 else ""
        config = self._keytab.with_name("sockd.conf")
        config.write_text(DANTE.format(port=port, keytab=self._keytab, users=users))
        return [str(SOCKD), "-f", str(config), "-p", str(self._keytab.with_name("sockd.pid"))]

    def version(self) -> str:
        return f"{package_version('dante-server')}, built from its source with GSSAPI"


# --- the load ---


def proxy(server: Server, level: int) -> hosier.Proxy:
    gssapi = hosier.Gssapi(level=level, accepted=(level,))
    return hosier.Proxy(f"socks5h://localhost:{server.port}", gssapi=gssapi)


def protected(server: Server, level: int, port: int) -> hosier.ProtectedSocket:
    sock = hosier.connect(proxy(server, level), "127.0.0.1", port, timeout=30)
    assert isinstance(sock, hosier.ProtectedSocket)
    return sock


class Frames:
    """Takes frames from a socket and counts what is in them, unopened: the client's cost is not measured."""

    def __init__(self, sock: hosier.ProtectedSocket) -> None:
        self._read = sock
        self._overhead = 65_531 - sock._stream.layer.max_payload
        self._buffer = bytearray(1 << 20)
        self._have = 0

    def take(self) -> int:
        """Plain octets of what has come now; negative: the end."""
        with memoryview(self._buffer) as view:
            got = socket.socket.recv_into(self._read, view[self._have :])
            if not got:
                return -1
            end, at, plain = self._have + got, 0, 0
            while end - at >= 4 and end - at >= (size := 4 + (view[at + 2] << 8 | view[at + 3])):
                plain += size - 4 - self._overhead
                at += size
            self._have = end - at
            view[: self._have] = bytes(view[at:end])
        return plain


def down(server: Server, level: int, port: int, octets: int) -> int:
    """CPU of the server, in ns, for so many octets from a source."""
    with protected(server, level, port) as sock:
        frames, plain = Frames(sock), 0
        before = measure.cpu_ns(server.pid)
        sock.sendall(octets.to_bytes(8, sys.byteorder))
        while plain < octets:
            taken = frames.take()
            if taken < 0:
                raise OSError(f"the download ended after {plain} of {octets} octets")
            plain += taken
        return measure.cpu_ns(server.pid) - before


def up(server: Server, level: int, port: int, octets: int) -> int:
    """The same into a sink, which answers with the count."""
    with protected(server, level, port) as sock:
        piece = bytes(1 << 20)
        before = measure.cpu_ns(server.pid)
        sock.sendall(octets.to_bytes(8, sys.byteorder))
        for start in range(0, octets, len(piece)):
            sock.sendall(piece[: octets - start])
        sock.settimeout(60)
        answer = b""
        while len(answer) < 8:
            answer += sock.recv(8)
        if int.from_bytes(answer, sys.byteorder) != octets:
            raise OSError("not all of it arrived")
        return measure.cpu_ns(server.pid) - before


def sessions(
    server: Server, port: int, methods: Callable[[int], list[Methods]], count: int, at_once: int = AT_ONCE
) -> tuple[float, float]:
    """CPU of the server in µs per short session, and the share of the time for which it was busy, in percent."""
    target = ("127.0.0.1", port)
    run_sessions(("127.0.0.1", server.port), target, methods(count // 5), at_once)
    made = methods(count)
    before, began = measure.cpu_ns(server.pid), time.monotonic_ns()
    run_sessions(("127.0.0.1", server.port), target, made, at_once)
    busy = (measure.cpu_ns(server.pid) - before) / (time.monotonic_ns() - began)
    time.sleep(0.05)  # the server's last closes
    return (measure.cpu_ns(server.pid) - before) / 1e3 / count, 100 * busy


@contextmanager
def bulk_flow(server: Server, port: int) -> Iterator[None]:
    """A download at level 2, as fast as the server can, for the time of the block."""
    command = [sys.executable, __file__, "--download", str(server.port), str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: (pin(LOAD_CORE)(), os.nice(19))
    ) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise OSError("the flow did not come up")
            yield
            if process.poll() is not None:
                raise OSError("the flow ended too early")
        finally:
            process.terminate()


def download(server_port: int, source: int) -> None:
    """The process of ``bulk_flow``."""
    gssapi = hosier.Gssapi(level=2)
    way = hosier.Proxy(f"socks5h://localhost:{server_port}", gssapi=gssapi)
    with hosier.connect(way, "127.0.0.1", source, timeout=30) as sock:
        assert isinstance(sock, hosier.ProtectedSocket)
        sock.sendall((1 << 40).to_bytes(8, sys.byteorder))
        frames, said, plain = Frames(sock), False, 0
        while (taken := frames.take()) >= 0:
            plain += taken
            if not said and plain > MB:
                print("flows", flush=True)
                said = True


# --- the same calls without a server ---


def bare_loop(count: int) -> float:
    """CPU in µs that the acceptor's calls of one session take: those that the server makes, and nothing else."""
    from gssapi import raw as gss

    name = gss.import_name(b"socks@localhost", gss.NameType.hostbased_service)
    keys = gss.acquire_cred_from(None, name=gss.import_name(b"socks", gss.NameType.hostbased_service), usage="accept")
    flags = gss.RequirementFlag
    wanted = [flags.mutual_authentication, flags.replay_detection, flags.out_of_sequence_detection]
    clock, used = time.thread_time_ns, 0
    for _ in range(count):
        near = gss.init_sec_context(name, mech=gss.MechType.kerberos, flags=wanted)
        began = clock()
        far = gss.accept_sec_context(near.token, keys.creds, None)
        gss.display_name(far.initiator_name)
        used += clock() - began
        near = gss.init_sec_context(name, context=near.context, mech=gss.MechType.kerberos, input_token=far.token)
        level = gss.wrap(near.context, b"\x02", False).message
        request, payload = (gss.wrap(near.context, bytes(size), True).message for size in (10, 100))
        began = clock()
        gss.unwrap(far.context, level)
        gss.wrap(far.context, b"\x02", False)
        gss.wrap_size_limit(far.context, 65_531, True)
        gss.unwrap(far.context, request)
        gss.wrap(far.context, bytes(10), True)
        gss.unwrap(far.context, payload)
        gss.wrap(far.context, bytes(100), True)
        gss.delete_sec_context(far.context)
        used += clock() - began
    return used / 1e3 / count


def bare(count: int) -> float:
    """``bare_loop`` in a process of its own, on the server's core."""
    command = [sys.executable, __file__, "--bare", str(count)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: enter(SERVER_CORE, None)
    )
    return float(done.stdout)


# --- rounds ---


class Run:
    def __init__(self, options: argparse.Namespace, keytab: Path) -> None:
        self._options = options
        self._target = Target("--copy")
        self._awake, self._first = Target("--awake"), Target("--realtime")
        self._peers: list[tuple[str, Peer]] = [
            ("hosier", GssapiHosier()),
            ("dante", GssapiDante(keytab)),
            (TWIN, GssapiHosier()),
        ]
        self.samples: dict[str, dict[str, list[float]]] = {}

    def prepare(self) -> dict[str, str]:
        for _, peer in self._peers:
            peer.prepare()
        return {name: peer.version() for name, peer in self._peers if name != TWIN}

    def round(self, number: int) -> None:
        turn = number % len(self._peers)
        for level in LEVELS:
            for label, peer in self._peers[turn:] + self._peers[:turn]:
                self._bulk(label, peer, level)
        self._short()
        self._beside()

    def close(self) -> None:
        for target in (self._target, self._awake, self._first):
            target.close()

    def _add(self, key: str, label: str, value: float) -> None:
        self.samples.setdefault(key, {}).setdefault(label, []).append(round(value, 4))
        print(f"  {key:24} {label:16} {value:10.3f}", flush=True)

    def _bulk(self, label: str, peer: Peer, level: int) -> None:
        octets = self._options.megabytes * MB
        for direction, port in ((down, self._target.source), (up, self._target.sink)):
            with running(peer) as server:
                direction(server, level, port, 2 * MB)  # so that all has been touched once
                used = direction(server, level, port, octets)
            self._add(f"level_{level}_{direction.__name__}_cpu_s_per_gb", label, used / octets)

    def _short(self) -> None:
        port, count = int(self._awake.echo.split(",")[0]), self._options.sessions
        for at_once, name in ((AT_ONCE, "short"), (FEW, "few")):
            for method, methods in (("none", without_authentication), ("gssapi", lambda size: prepared(2, size))):
                with running(GssapiHosier()) as server:
                    used, busy = sessions(server, port, methods, count, at_once)
                self._add(f"{name}_{method}_cpu_us", "hosier", used)
                self._add(f"{name}_{method}_busy_percent", "hosier", busy)
        self._add("bare_loop_cpu_us", "hosier", bare(count))

    def _beside(self) -> None:
        for name, flowing in (("alone", False), ("beside", True)):
            with running(GssapiHosier()) as server:
                arguments = ("rr", "--proxy", server.proxy, "--timeout", 60, "--targets", self._first.echo)
                more = ("--sessions", self._options.rr_sessions, "--trips", self._options.trips)
                if flowing:
                    with bulk_flow(server, self._target.source):
                        result = self._trips(*arguments, *more)
                else:
                    result = self._trips(*arguments, *more)
            for key in ("p50", "p99", "p99.9"):
                self._add(f"rr_{name}_{key.replace('.', '')}_us", "hosier", result["latency_us"][key])

    def _trips(self, *arguments: object) -> dict[str, Any]:
        with job(*arguments) as running_job:
            return running_job.line()


def program(*names: str) -> str:
    for name in names:
        if path := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return path
    raise SystemExit(f"{names[0]} is not installed; scripts/install-peers installs it")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gssapi.py", description="Measure what GSSAPI costs the server.")
    parser.add_argument("--rounds", type=int, default=7, help="at least 5 for results that are kept (default 7)")
    parser.add_argument("--megabytes", type=int, default=400, help="per transfer (default 400)")
    parser.add_argument("--sessions", type=int, default=2000, help="short sessions per sample (default 2000)")
    parser.add_argument("--rr-sessions", type=int, default=50)
    parser.add_argument("--trips", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--name", help="name of the result files (default: the date)")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--download", type=int, nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = parse()
    if options.bare:
        print(bare_loop(options.bare))
        return 0
    if options.download:
        download(*options.download)
        return 0
    build("load.c")
    pin(LOAD_CORE)()
    started = datetime.datetime.now(datetime.UTC)
    with tempfile.TemporaryDirectory() as folder, Realm(Path(folder), program) as realm:
        os.environ.update(realm.environment)
        run = Run(options, Path(folder) / "service.keytab")
        try:
            versions = run.prepare()
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", flush=True)
                run.round(number)
            tickets = realm.run("klist", "-e")
        finally:
            run.close()
    document = {
        "date": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round((datetime.datetime.now(datetime.UTC) - started).total_seconds()),
        "commit": commit(),
        "machine": machine(),
        "rounds": options.rounds,
        "sizes": {key: getattr(options, key) for key in ("megabytes", "sessions", "rr_sessions", "trips")}
        | {"at_once": AT_ONCE, "few": FEW},
        "servers": versions,
        "enctype": tickets.rpartition("Etype (skey, tkt): ")[2].partition(",")[0].strip(),
        "kerberos": package_version("libgssapi-krb5-2"),
        "samples": run.samples,
    }
    print("\n" + markdown(document))
    if not options.no_save:
        path = options.out / f"{options.name or started.strftime('%Y-%m-%d-%H%M-gssapi')}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(document))
        print(f"kept in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
