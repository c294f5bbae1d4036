"""httpx2 through a proxy."""

from __future__ import annotations

import httpx2

from hosier.integrations import httpx2 as hook

from .httpx_tests import HttpxTests


class TestHttpx2(HttpxTests):
    host = httpx2
    hook = hook
