"""Style, spelling and types of the sources, by the settings in pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    'ruff check': ['--no-cache', '.'],
    'ruff format': ['--no-cache', '--check', '.'],
    'codespell': [],
    'mypy': ['--cache-dir', os.devnull],
}


def program(name):
    """Its file, in the environment of the tests or on the path."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
    if found is None:
        pytest.skip(f'{name} is not installed; pip install -r requirements/dev.txt')
    return found


@pytest.mark.parametrize('name', COMMANDS)
def test_checks_pass(name):
    command, *subcommand = name.split()
    done = subprocess.run([program(command), *subcommand, *COMMANDS[name]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


TYPES = """
from typing import Iterator

from typing_extensions import assert_type

from kdeov_mm.apis import (ClassificationResult, DetectionResult, EmbeddingResult, KDEOVInferencer, Results,
                           SearchResult)

inferencer = KDEOVInferencer('kdeov_yolov8n')
assert_type(inferencer.detect('a.jpg', ['dog']), Results[DetectionResult])
assert_type(inferencer.detect('a.jpg', ['dog'], stream=True), Iterator[DetectionResult])
assert_type(inferencer.classify('a.jpg', ['dog'])[0], ClassificationResult)
assert_type(inferencer.classify('a.jpg', stream=True), Iterator[ClassificationResult])
assert_type(inferencer.embed('a.jpg'), EmbeddingResult)
assert_type(inferencer.embed('a.jpg', stream=True), Iterator[EmbeddingResult])
assert_type(inferencer.search('a dog', 'photos'), SearchResult)
"""


def test_types_that_users_see(tmp_path):
    """A stream is an iterator, all else a list or one result."""
    (tmp_path / 'use.py').write_text(TYPES)
    done = subprocess.run(
        [program('mypy'), '--config-file', 'pyproject.toml', '--cache-dir', os.devnull, tmp_path / 'use.py'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=dict(os.environ, MYPYPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pre_commit_runs_the_same_checks():
    entries = re.findall(r'entry: (\w+(?: \w+)?)', (ROOT / '.pre-commit-config.yaml').read_text())
    assert entries == list(COMMANDS)


def test_nox_covers_the_pythons_of_setup_py_and_the_makefile():
    pythons = re.findall(r"'(3\.\d+)'", (ROOT / 'noxfile.py').read_text())
    assert f"python_requires='>={pythons[0]}'" in (ROOT / 'setup.py').read_text()
    assert f'Python {pythons[0]} to {pythons[-1]}' in (ROOT / 'Makefile').read_text()
