"""``python -m tests.real.two_families_ftp PROXY HOST PORT FILE``: gets get.bin by active FTP, through BIND."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import hosier

PATIENCE = 20


def main(proxy: str, host: str, port: str, file: str) -> None:
    with hosier.connect(proxy, host, int(port), timeout=PATIENCE) as control, control.makefile("rb") as lines:
        control.settimeout(PATIENCE)

        def say(text: str, expected: Sequence[bytes]) -> None:
            control.sendall(text.encode() + b"\r\n")
            answer = lines.readline()
            assert answer[:3] in expected, answer

        assert lines.readline().startswith(b"220")
        say("USER anonymous", [b"230"])
        say("TYPE I", [b"200"])
        with hosier.bind(proxy, host, timeout=PATIENCE) as listener:
            place, number = listener.address
            say(f"EPRT |{2 if ':' in place else 1}|{place}|{number}|", [b"200"])
            say("RETR get.bin", [b"150"])
            data, peer = listener.accept(timeout=PATIENCE)
            assert peer[0] == host, peer
            with data, open(file, "wb") as output:
                data.settimeout(PATIENCE)
                while piece := data.recv(1 << 16):
                    output.write(piece)
        assert lines.readline().startswith(b"226")


if __name__ == "__main__":
    main(*sys.argv[1:])
