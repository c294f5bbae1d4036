"""Chains for run."""

from __future__ import annotations

import pytest

from hosier.client.proxy import Proxy
from hosier.errors import ConfigError
from hosier.run.plan import Plan, chain_for_run


def test_every_proxy_is_told_names() -> None:
    chain = chain_for_run(["socks5://ann:secret@127.0.0.1:1", "socks4a://127.0.0.1:2", "http://127.0.0.1:3"])
    assert all(proxy.remote_dns for proxy in chain)
    assert chain[0].scheme == "socks5h"
    assert (chain[0].username, chain[0].password) == (b"ann", b"secret")
    assert chain[1] == Proxy("socks4a://127.0.0.1:2")


def test_a_proxy_that_cannot_be_told_any_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^socks4://127\.0\.0\.1:1080: SOCKS4 cannot be told names; use socks4a"):
        chain_for_run("socks4://127.0.0.1")


def test_each_plan_has_names_of_its_own() -> None:
    """NG-REQ-18."""
    chain = chain_for_run("127.0.0.1")
    assert Plan(chain).names is not Plan(chain).names
