"""The public name of PySocks' names: one module, however it is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTS = (
    "import hosier.pysocks",
    "import hosier.pysocks as socks; assert socks is hosier.pysocks",
    "from hosier import pysocks; import hosier.pysocks; assert pysocks is hosier.pysocks",
    "from hosier.pysocks import socksocket; assert socksocket is hosier.pysocks.socksocket",
    "hosier.pysocks.socksocket; import hosier.pysocks",
    "from hosier.integrations import pysocks; import hosier.pysocks; assert pysocks is hosier.pysocks",
)

SAME = """
import hosier.integrations.pysocks
assert hosier.pysocks is hosier.integrations.pysocks is sys.modules["hosier.pysocks"]
assert hosier.pysocks.__name__ == "hosier.integrations.pysocks"
hosier.pysocks.set_default_proxy(hosier.pysocks.SOCKS5, "proxy.example")
assert hosier.integrations.pysocks.get_default_proxy()[1] == "proxy.example"
hosier.pysocks.install()
import socks
assert socks is hosier.pysocks
"""


@pytest.mark.parametrize("statement", IMPORTS)
def test_one_module(statement: str) -> None:
    program = f"import sys, hosier\n{statement}\n{SAME}"
    subprocess.run([sys.executable, "-W", "error", "-c", program], timeout=60, check=True)


def test_it_loads_when_it_is_asked_for() -> None:
    program = "import hosier, sys; print([one for one in sys.modules if 'pysocks' in one])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
