"""``python -m hosier`` is the command ``hosier``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
