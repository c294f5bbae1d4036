"""httpx through a proxy."""

from __future__ import annotations

import httpx

from hosier.integrations import httpx as hook

from .httpx_tests import HttpxTests


class TestHttpx(HttpxTests):
    host = httpx
    hook = hook
