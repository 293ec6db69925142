"""MkDocs hook: a reference page for each public package, from its ``__all__`` and the docstrings.

The sources are parsed, not imported, so that the documentation is built without any of the project's dependencies.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import Iterator, List, Tuple, Union

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    'apis',
    'datasets',
    'deploy',
    'engine',
    'engine.hooks',
    'evaluation',
    'models',
    'models.clip',
    'models.losses',
    'search',
    'text',
    'utils',
)
SECTIONS = ('Args', 'Returns', 'Yields', 'Raises', 'Examples', 'Example', 'Note')
Definition = Union[ast.ClassDef, ast.FunctionDef]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages ``reference/*.md``; MkDocs calls this."""
    index = ['# API reference', '', 'Made from the docstrings.', '']
    for package in PACKAGES:
        if (folder := ROOT / 'kdeov_mm' / package.replace('.', '/')).is_dir() and (page := render(package, folder)):
            files.append(File.generated(config, f'reference/{package}.md', content=page))
            index.append(f'- [kdeov_mm.{package}]({package}.md)')
    files.append(File.generated(config, 'reference/index.md', content='\n'.join(index) + '\n'))
    return files


def render(package: str, folder: Path) -> str:
    """The page of a package; empty if it exports nothing of its own."""
    tree = ast.parse((folder / '__init__.py').read_text(encoding='utf-8'))
    parts = [part for definition in exported(tree, folder) for part in document(definition)]
    return '\n'.join([f'# kdeov_mm.{package}', '', markdown(ast.get_docstring(tree) or ''), *parts]) if parts else ''


def exported(tree: ast.Module, folder: Path) -> Iterator[Definition]:
    """Definitions of the names that an ``__init__.py`` takes from modules beside it, in alphabetical order."""
    sources = {
        (alias.name, folder / f'{node.module}.py')
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module != 'lazy'
        for alias in node.names
    }
    for node in tree.body:  # names that are imported when they are used
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'MODULES':
            sources |= {(each.arg, find_module(each.value.value, folder)) for each in node.value.keywords}
    for name, path in sorted(sources):
        if path.is_file():
            for node in ast.parse(path.read_text(encoding='utf-8')).body:
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                    yield node


def find_module(name: str, folder: Path) -> Path:
    """The file of a module, ``.name`` beside an ``__init__.py`` or ``kdeov_mm.package.name``."""
    path = folder / name[1:] if name.startswith('.') else ROOT / name.replace('.', '/')
    return path.with_suffix('.py')


def document(node: Definition) -> Iterator[str]:
    """Lines about a class with its public methods, or about a function."""
    yield f'## {node.name}\n\n```python\n{signature(node)}\n```\n'
    yield markdown(ast.get_docstring(node) or '')
    for method in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(method, ast.FunctionDef) and not method.name.startswith('_') and ast.get_docstring(method):
            yield f'### {node.name}.{method.name}\n\n```python\n{signature(method)}\n```\n'
            yield markdown(ast.get_docstring(method) or '')


def signature(node: Definition) -> str:
    """How it is called, with types and defaults."""
    if isinstance(node, ast.FunctionDef):
        returns = f' -> {ast.unparse(node.returns)}' if node.returns else ''
        return f'{node.name}({ast.unparse(node.args)}){returns}'
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == '__init__':
            return f'{node.name}({ast.unparse(method.args).removeprefix("self, ").removeprefix("self")})'
    return node.name


def markdown(docstring: str) -> str:
    """Turn a docstring in Google's style into Markdown."""
    docstring = re.sub(r':\w+:`~?([^`]+)`', r'`\1`', docstring)
    docstring = re.sub(r'(?m)(\S)?[ ]*::$', lambda match: f'{match[1]}:' if match[1] else '', docstring)
    lines: List[str] = []
    for title, block in sections(docstring):
        if title:
            lines += [f'**{title}**', '']
        if title.startswith('Example'):
            lines += ['```python', textwrap.dedent(block).strip(), '```']
        elif title in ('Args', 'Raises'):
            lines += [f'- `{name}`: {" ".join(text.split())}' for name, text in entries(block)]
        elif title in ('Returns', 'Yields'):
            lines.append(' '.join(block.split()))
        else:
            lines.append(block.strip())
        lines.append('')
    return '\n'.join(lines)


def sections(docstring: str) -> Iterator[Tuple[str, str]]:
    """Title and text of each part; the first has no title."""
    pieces = re.split(rf'(?m)^({"|".join(SECTIONS)}):\n', docstring)
    yield '', pieces[0]
    yield from zip(pieces[1::2], pieces[2::2])


def entries(block: str) -> Iterator[Tuple[str, str]]:
    """Name and text of each entry of a list of arguments or errors."""
    for entry in re.split(r'\n(?=\S)', textwrap.dedent(block).strip()):
        name, _, text = entry.partition(':')
        yield name.strip(), text.strip()
