"""``python -m hosier`` is the command ``hosier``."""

import sys

from .cli.main import main

sys.exit(main())
