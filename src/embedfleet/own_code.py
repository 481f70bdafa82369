"""Whether the data path of this process is compiled; all of its modules are compiled together."""

import inspect

from embedfleet.metrics import Registry


def is_compiled() -> bool:
    """Whether this process runs the data path as extension modules that mypyc made."""
    return not inspect.isfunction(Registry.expose)
