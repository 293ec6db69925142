"""Imports run downwards: no package imports one above it, and no module imports itself through others.

Imports inside functions count, and so do modules that are named in strings to be imported when they are needed.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# From the top to the bottom. A package may import those of lower lines; two of one line do not import each other.
ORDER = (
    ('__main__', '__init__'),
    ('plugin',),
    ('registered',),
    ('cli',),
    ('demo', 'benchmarks'),
    ('apis',),
    ('engine',),
    ('evaluation',),
    ('search',),
    ('deploy',),
    ('datasets',),
    ('models',),
    ('structures',),
    ('text',),
    ('utils',),
    ('compat', 'version'),
)
LEVELS = {package: len(ORDER) - index for index, packages in enumerate(ORDER) for package in packages}


def find_modules(root):
    """Each module's file by the module's name, ``kdeov_mm.models.kdeov``; a package's name is that of its __init__."""
    modules = {}
    for path in sorted((root / 'kdeov_mm').rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        if '.mim' not in parts:
            modules['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return modules


def find_imports(name, path, modules):
    """The line and the name of each module of the project that a module imports."""
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split('.')[: len(package.split('.')) - node.level + 1] if node.level else []
            source = '.'.join([*above, *filter(None, [node.module])])
            names = [f'{source}.{alias.name}' for alias in node.names]
            names = [each if each in modules else source for each in names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value.startswith('kdeov_mm.') else []
        yield from ((node.lineno, each) for each in dict.fromkeys(names) if each in modules and each != name)


def room(name):
    """The package below ``kdeov_mm``, or the module there, in which a module is."""
    return (name.split('.') + ['__init__'])[1]


def find_upward(root):
    """``file:line imports module`` for each import from a higher line of ``ORDER``, or from another one of its own."""
    modules = find_modules(root)
    return [
        f'{path.relative_to(root)}:{line} imports {imported}'
        for name, path in modules.items()
        for line, imported in find_imports(name, path, modules)
        if room(imported) != room(name) and LEVELS[room(imported)] >= LEVELS[room(name)]
    ]


def find_circles(root):
    """The modules of each circle of imports, sorted."""
    modules = find_modules(root)
    imports = {name: {each for _, each in find_imports(name, path, modules)} for name, path in modules.items()}
    reached = {}
    for name in modules:
        found, left = set(), list(imports[name])
        while left:
            each = left.pop()
            if each not in found:
                found.add(each)
                left += imports[each]
        reached[name] = found
    return sorted({tuple(sorted(b for b in reached[a] if a in reached[b])) for a in modules if a in reached[a]})


def write_package(root, **files):
    for name, content in files.items():
        path = root / 'kdeov_mm' / (name.replace('__in__', '/') + '.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_every_package_has_its_place():
    assert {room(name) for name in find_modules(ROOT)} == set(LEVELS)


def test_no_import_runs_upwards():
    assert find_upward(ROOT) == []


def test_no_circle():
    assert find_circles(ROOT) == []


def test_upward_imports_and_circles_are_found(tmp_path):
    root = write_package(
        tmp_path,
        text__in__a='def f():\n    from kdeov_mm.models import b\n',
        models__in__b='import kdeov_mm.text.a',
        models__in__c="LATER = dict(Runtime='kdeov_mm.deploy.runtime')\nfrom .d import x",
        models__in__d='from . import c',
        deploy__in__runtime='from kdeov_mm.models.d import x',
        cli='',
        utils__in__e='from kdeov_mm import compat',
        compat='',
    )
    assert find_upward(root) == [
        'kdeov_mm/models/c.py:1 imports kdeov_mm.deploy.runtime',
        'kdeov_mm/text/a.py:2 imports kdeov_mm.models.b',
    ]
    circles = [('models.b', 'text.a'), ('deploy.runtime', 'models.c', 'models.d')]
    assert find_circles(root) == sorted(tuple(f'kdeov_mm.{name}' for name in each) for each in circles)
