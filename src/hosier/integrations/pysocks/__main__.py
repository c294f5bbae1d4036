"""``python -m hosier.integrations.pysocks MODULE ARGUMENTS``: runs a module, such as pip, whose ``socks`` is this."""

import runpy
import sys


def main() -> None:
    """As ``python -m MODULE ARGUMENTS``."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m hosier.integrations.pysocks MODULE [ARGUMENTS]")
    from hosier.integrations import pysocks

    pysocks.install()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
