"""``python -m tests.real.narrow``: an association in a network namespace with a small MTU and a route to nowhere."""

from __future__ import annotations

import errno
import subprocess

from hosier.engine.segments import segment_option

from .harness import Hosier
from .test_udp_abuse import Association, datagrams

NOWHERE = ("198.51.100.1", 9)
SIZE = 1300
COUNT = 200


def refuses_runs(place: tuple[str, int]) -> bool:
    """Whether this path is one on which a run fails where single datagrams pass; else there is nothing to see."""
    with datagrams("127.0.0.1") as sock:
        try:
            sock.sendmsg([bytes(SIZE)] * 3, segment_option(SIZE), 0, place)
        except OSError as error:
            return error.errno in (errno.EMSGSIZE, errno.EINVAL)
    return False


def main() -> None:
    for command in ("link set lo up mtu 1280", "route add unreachable 198.51.100.0/24"):
        subprocess.run(["ip", *command.split()], check=True)
    with Hosier() as server, datagrams("127.0.0.1") as target:
        assert refuses_runs(target.getsockname())
        client = Association(server)
        client.proof(target)
        for start in range(0, COUNT, 20):
            expected = [b"%04d" % number + bytes(SIZE - 4) for number in range(start, start + 20)]
            for data in expected:
                client.ask(target.getsockname(), data)
                client.ask(NOWHERE, b"nowhere")
            found = [target.recvfrom(1 << 16) for _ in expected]
            assert [data for data, _ in found] == expected
            for data, outer in found:
                target.sendto(data, outer)
            assert [client.sock.recv(1 << 16)[10:] for _ in expected] == expected
        for data in expected:  # in one go, so that the relay sees them together
            client.ask(target.getsockname(), data)
        assert [target.recv(1 << 16) for _ in expected] == expected
        client.close()
        [session] = server.sessions_of("UDP_ASSOCIATE", 1)
    assert session["datagrams"] == {"sent": COUNT + 21, "received": COUNT + 1, "dropped": {"unreachable": COUNT}}


if __name__ == "__main__":
    main()
