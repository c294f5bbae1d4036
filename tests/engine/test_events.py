from __future__ import annotations

import select

import pytest

from hosier.engine import events


@pytest.mark.parametrize("name", events.__all__)
def test_numbers_are_the_kernels(name: str) -> None:
    assert getattr(events, name) == getattr(select, name)
