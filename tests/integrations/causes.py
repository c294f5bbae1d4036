"""Our error behind a host library's."""

from __future__ import annotations

import hosier


def our_error(error: BaseException) -> hosier.SocksError:
    """What the chain of causes ends with, ours; libraries that wrap their own errors keep those as ``reason``."""
    waiting: list[object] = [error]
    seen: list[object] = []
    while waiting:
        one = waiting.pop()
        if isinstance(one, hosier.SocksError):
            return one
        if isinstance(one, BaseException) and not any(one is other for other in seen):
            seen.append(one)
            waiting += [one.__context__, getattr(one, "reason", None), one.__cause__]
    raise AssertionError(f"nothing of ours is behind {error!r}")
