"""What others can see on the wire: tcpdump on loopback."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness import PATIENCE, wait_until


@contextmanager
def capture(
    program: Callable[..., str], port: int, file: Path, kind: socket.SocketKind = socket.SOCK_STREAM
) -> Iterator[None]:
    """All that goes to and from a port of loopback, up to a mark that is sent at the end; ``kind``: how to send one."""
    command = [program("tcpdump"), "-i", "lo", "-U", "--immediate-mode", "-s", "0", "-B", "16384", "-w", str(file)]
    if os.geteuid() == 0:
        command += ["-Z", "root"]  # it gives its rights up, and then could not write here
    with subprocess.Popen([*command, "port", str(port)], stderr=subprocess.PIPE) as tcpdump:
        try:
            assert tcpdump.stderr is not None
            assert b"listening on" in tcpdump.stderr.readline()
            yield
            mark = os.urandom(16)
            with socket.socket(type=kind) as marking:
                marking.settimeout(PATIENCE)
                marking.connect(("127.0.0.1", port))
                marking.sendall(mark)
                wait_until(lambda: mark in file.read_bytes(), "the mark in the capture")
        finally:
            tcpdump.kill()  # whatever it has seen is in the file
