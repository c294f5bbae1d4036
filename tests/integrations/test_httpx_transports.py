"""Transports of httpx around pools of httpcore."""

from __future__ import annotations

from unittest import mock

import httpcore
import httpx
import pytest

from hosier.integrations.httpx_transports import blocking_transport, for_pool


def ask(error: Exception) -> None:
    """For a page, over a pool that fails as told."""
    with httpcore.ConnectionPool() as pool, mock.patch.object(pool, "handle_request", side_effect=error):
        blocking_transport(httpx, lambda **_: pool, {}).handle_request(httpx.Request("GET", "http://target.test"))


def test_options_for_a_pool() -> None:
    defaults = for_pool(httpx, {"retries": 2})
    assert (defaults["max_connections"], defaults["keepalive_expiry"], defaults["retries"]) == (100, 5.0, 2)
    own = for_pool(httpx, {"verify": False, "http2": True, "limits": httpx.Limits(max_connections=3)})
    assert (own["max_connections"], own["http1"], own["http2"]) == (3, True, True)
    assert own["ssl_context"].check_hostname is False


@pytest.mark.parametrize("name", ["PoolTimeout", "ReadError", "RemoteProtocolError", "UnsupportedProtocol"])
def test_errors_by_their_names(name: str) -> None:
    error = getattr(httpcore, name)("why")
    with pytest.raises(getattr(httpx, name), match="why") as raised:
        ask(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("why"), httpcore.ConnectionNotAvailable("why")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)):
        ask(error)
