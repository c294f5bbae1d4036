"""PySocks' names on Hosier: a public name of ``hosier.integrations.pysocks``, which takes this module's place.

So there is one module, and what a program changes in it, by whichever name, is changed.
"""

import sys

from .integrations import pysocks
from .integrations.pysocks import *  # noqa: F403 - for type checkers, which read on
from .integrations.pysocks import __version__ as __version__

sys.modules[__name__] = pysocks
