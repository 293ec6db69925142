"""The scripts of tools/ as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def load_tool(name: str) -> ModuleType:
    """A new module from ``tools/**/{name}.py``, which runs nothing but its definitions."""
    (path,) = TOOLS.glob(f'**/{name}.py')
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(name: str, *args) -> None:
    """Run ``tools/**/{name}.py`` with arguments, in this process."""
    with mock.patch.object(sys, 'argv', [f'{name}.py', *map(str, args)]):
        load_tool(name).main()
