"""How the facade becomes the module ``socks``, for programs that import that."""

import sys

from ...errors import ConfigError

__all__ = ("install",)

_PACKAGE = __name__.rpartition(".")[0]


def install() -> None:
    """From now on ``import socks`` and ``import sockshandler`` give Hosier's, in this process.

    Call it before what imports them; requests, urllib3 and pip then run on it unchanged. Raises ConfigError, and
    changes nothing, if the PySocks package is loaded already: somebody holds on to it.
    """
    from . import sockshandler

    modules = {"socks": sys.modules[_PACKAGE], "sockshandler": sockshandler}
    for name, module in modules.items():
        if sys.modules.get(name, module) is not module:
            raise ConfigError(
                f"another module {name} is loaded already: call hosier.pysocks.install() before it is imported"
            )
    sys.modules.update(modules)
