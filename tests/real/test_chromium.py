"""A page with a script and a picture, in a headless Chromium that knows the SOCKS server only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import every_engine
from .harness import Hosier, run
from .target import Target

pytestmark = [pytest.mark.real, every_engine, pytest.mark.timeout(180)]

PAGE = b"""<!doctype html>
<title>through the proxy</title>
<p id="place">not yet</p>
<script src="/script.js"></script>
<img src="/picture.svg" onload="document.body.dataset.picture = 'seen'">
"""
SCRIPT = b"""document.getElementById("place").textContent = "written by a script from " + location.host;\n"""
PICTURE = b"""<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n"""


@pytest.mark.parametrize(
    ("scheme", "version", "host"),
    [("socks5", 5, "localhost"), ("socks5", 5, "127.0.0.1"), ("socks4", 4, "127.0.0.1")],
)
def test_page(
    program: Callable[..., str],
    tmp_path: Path,
    hosier: Hosier,
    target: Target,
    scheme: str,
    version: int,
    host: str,
) -> None:
    target.files = {
        "/page.html": ("text/html; charset=utf-8", PAGE),
        "/script.js": ("text/javascript", SCRIPT),
        "/picture.svg": ("image/svg+xml", PICTURE),
    }
    chromium = [
        program("chromium", "chromium-browser", "google-chrome"),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--proxy-server={scheme}://{hosier.address}",
        "--proxy-bypass-list=<-loopback>",  # Chromium would go straight to this machine's own addresses
        "--dump-dom",
    ]
    done = run([*chromium, target.url(host, "/page.html")], env={"HOME": str(tmp_path)}, patience=120)
    dom = done.stdout.decode()
    assert f"written by a script from {target.at(host)}" in dom, done.stderr.decode()
    assert 'data-picture="seen"' in dom, done.stderr.decode()
    assert target.connections
    hosier.sessions(target.at(host), version, target.connections)
