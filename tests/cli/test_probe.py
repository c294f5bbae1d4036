"""``hosier probe``: a table for people, JSON for programs."""

from __future__ import annotations

import json
import socket

import pytest

from hosier.cli.probe import table
from hosier.client.probe import Finding, Report
from hosier.testing import ThreadedServer

from .harness import ran

REPORT = Report(
    "socks5h://gate.example:1080",
    Finding(True, "connected", 1.25),
    {"socks5": Finding(True, "answers a greeting")},
    {"none": Finding(False, "refused", 2.0)},
    {"bind": Finding(None, "no answer in time")},
    {"ipv4": Finding(True, "connects", 3.0)},
)


def test_table() -> None:
    assert list(table(REPORT)) == [
        "proxy    socks5h://gate.example:1080 yes    1.2 ms  connected",
        "version  socks5     yes            answers a greeting",
        "method   none       no     2.0 ms  refused",
        "command  bind       ?              no answer in time",
        "address  ipv4       yes    3.0 ms  connects",
    ]


@pytest.mark.slow
def test_json_and_codes() -> None:
    with ThreadedServer(users={"ann": "sesame"}) as proxy:
        url = proxy.url.replace("//", "//ann:sesame@")
        status, output, said = ran("probe", "--json", "--timeout", "10", "--proxy", url)
        assert (status, said) == (0, "")
        found = json.loads(output)
        assert found["proxy"] == proxy.url
        assert found["methods"]["password"]["works"] is True
        status, output, _ = ran("probe", "--timeout", "10", "--proxy", url, "--target", f"127.0.0.1:{proxy.address[1]}")
        assert (status, b"command  connect    ?" in output) == (0, True)  # the proxy itself is no target
        assert ran("probe", "--timeout", "10", url, "--target", f"127.0.0.1:{proxy.address[1]}")[0] == 0
        for twice in (("--proxy", url, "--proxy", url), ("--proxy", url, url), (url, url)):
            assert ran("probe", *twice) == (2, b"", "hosier: probe looks at one proxy: give one URL\n")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"socks5h://127.0.0.1:{closed.getsockname()[1]}"
        assert ran("probe", "--proxy", url) == (3, b"", f"hosier: cannot reach {url}: Connection refused\n")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, socket.create_connection(silent.getsockname()):
        url = f"socks5h+tls://127.0.0.1:{silent.getsockname()[1]}"
        status, output, said = ran("probe", "--timeout", "0.2", "--proxy", url)
        assert (status, output, said) == (3, b"", f"hosier: cannot reach {url}: no answer in time\n")
