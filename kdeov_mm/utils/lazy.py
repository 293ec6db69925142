"""Lazy import of a package's attributes (PEP 562)."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def import_when_used(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``.

    Args:
        package: The package's ``__name__``.
        modules: Module of each attribute; ``.name`` is a module of the package.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(importlib.import_module(modules[name], package), name)

    return find
