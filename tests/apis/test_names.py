"""The names of ``kdeov_mm.apis``: type checkers see the same ones from the same modules as Python does."""

import ast
from pathlib import Path

from kdeov_mm import apis


def test_names_for_type_checkers_are_those_of_python():
    (block,) = (node for node in ast.parse(Path(apis.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: f'.{node.module}' for node in block.body for alias in node.names}
    assert seen == apis.MODULES and {*seen} < {*apis.__all__} <= {*dir(apis), *seen}
    assert all(getattr(apis, name).__module__ == f'kdeov_mm.apis{module}' for name, module in seen.items())
