"""Commands, snippets, links and messages in the documents are right."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_commands import DOCUMENTS, ROOT, Command, check, read_commands

COMMANDS = [command for path in DOCUMENTS for command in read_commands(path)]


@pytest.mark.parametrize('command', COMMANDS, ids=str)
def test_command(command):
    check(command)


def test_commands_are_found():
    found = {command.path.name for command in COMMANDS}
    assert {'README.md', 'training.md', 'vocabulary.md', 'real_coco.md', 'get_started.md'} <= found
    assert len(COMMANDS) > 60


@pytest.mark.parametrize(
    'words, named',
    [
        ('python tools/train.py configs/absent.py', 'configs/absent.py'),
        ('python tools/train.py configs/kdeov_yolov8n.py --no-such-option', '--no-such-option'),
        ('python tools/absent.py', 'absent.py'),
        ('kdeov absent images', 'kdeov.*absent'),
        ('make absent', 'Makefile.*absent'),
        ('mim absent kdeov_mm', 'mim.*absent'),
        ('pip install kdeov_mm[absent]', 'setup.py.*absent'),
    ],
)
def test_wrong_commands_are_refused(words, named):
    with pytest.raises(AssertionError, match=named):
        check(Command(ROOT / 'README.md', 1, words.split()))


def test_a_wrong_field_is_refused():
    words = 'python tools/train.py configs/kdeov_yolov8n.py --cfg-options model.bbox_head.proposal=1'
    with pytest.raises(ValueError, match="bbox_head.*'proposal'"):
        check(Command(ROOT / 'README.md', 1, words.split()))


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_snippets_are_python(path):
    for block in re.findall(r'```python\n(.*?)```', path.read_text(encoding='utf-8'), re.DOTALL):
        ast.parse(block)


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', path.read_text(encoding='utf-8')):
        if '://' not in target:
            assert (path.parent / target).exists() or target.startswith('reference/'), f'{path.name}: {target}'


def string_literals():
    """All texts of the sources, with {} for what is filled in; strings that stand beside each other are one."""
    texts = []
    for folder in ('kdeov_mm', 'tools'):
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else '{}' for part in node.values]
                    texts.append(''.join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return '\n'.join(texts + [(ROOT / 'Makefile').read_text()])


def test_messages_of_troubleshooting_are_those_of_the_sources():
    messages = re.findall(r'^### `(.+)`$', (ROOT / 'docs/troubleshooting.md').read_text(), re.MULTILINE)
    literals = string_literals()
    missing = [
        message
        for message in messages
        if not all(part.strip(' .') in literals for part in re.split(r'\.\.\.', message) if part.strip(' .'))
    ]
    assert len(messages) >= 20 and not missing


def test_the_site_builds(tmp_path):
    pytest.importorskip('mkdocs', reason='mkdocs is not installed; pip install -r requirements/docs.txt')
    pytest.importorskip('material', reason='mkdocs-material is not installed; pip install -r requirements/docs.txt')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-q', '-d', tmp_path / 'site'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / 'site/reference/models/index.html').read_text()
    assert 'FiLMFusion' in page and 'encode_image' in page and 'never depends on a query' in page
    assert not list((tmp_path / 'site').rglob('reference.py'))


def test_reference_pages():
    pytest.importorskip('mkdocs', reason='mkdocs is not installed; pip install -r requirements/docs.txt')
    sys.path.insert(0, str(ROOT / 'docs/_hooks'))
    try:
        import reference
    finally:
        sys.path.remove(str(ROOT / 'docs/_hooks'))
    text = reference.markdown(
        """Do it, see :class:`~kdeov_mm.Other`. The mean of::

        a + b

    Args:
        x: Tensor ``[N]``,
            in pixels.
        y: Other.

    Raises:
        ValueError: Bad,
            very bad.
    """.replace('\n    ', '\n')
    )
    assert text.splitlines() == [
        'Do it, see `kdeov_mm.Other`. The mean of:',
        '',
        '    a + b',
        '',
        '**Args**',
        '',
        '- `x`: Tensor ``[N]``, in pixels.',
        '- `y`: Other.',
        '',
        '**Raises**',
        '',
        '- `ValueError`: Bad, very bad.',
    ]
    for package in ('models', 'losses', 'datasets', 'evaluation', 'apis', 'deploy', 'utils'):
        name = f'models.{package}' if package == 'losses' else package
        page = reference.render(name, ROOT / 'kdeov_mm' / Path(*name.split('.')))
        assert page.count('\n## ') > 3


def test_results_of_the_report_have_commands():
    """Each section below "Results" has a command of tools/, kdeov or make."""
    results = (ROOT / 'docs/report.md').read_text().split('\n## Results\n')[1].split('\n## ')[0]
    sections = results.split('\n### ')[1:]
    assert len(sections) > 4
    for section in sections:
        assert re.search(r'```\n(make|python tools/|kdeov )', section), section.splitlines()[0]


def test_numbers_of_the_report_are_those_of_the_measurements():
    """Each number with three decimals stands in the README or the page that has its command."""
    sources = [ROOT / 'README.md', *(ROOT / 'docs' / f'{name}.md' for name in ('ablations', 'pretrain', 'real_coco'))]
    known = set(re.findall(r'\b\d\.\d{3}\b', ' '.join(path.read_text() for path in sources)))
    numbers = re.findall(r'\b\d\.\d{3}\b', (ROOT / 'docs/report.md').read_text())
    assert len(numbers) > 40 and set(numbers) <= known
