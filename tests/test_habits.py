"""Style, spelling and types of the sources, by the settings in pyproject.toml."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = dict(ruff=['ruff', 'check', '--no-cache', '.'], codespell=['codespell'],
                mypy=['mypy', '--cache-dir', os.devnull])


@pytest.mark.parametrize('name', COMMANDS)
def test_checks_pass(name):
    program, *args = COMMANDS[name]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    found = shutil.which(program, path=path)
    if found is None:
        pytest.skip(f'{program} is not installed; pip install -r requirements/dev.txt')
    done = subprocess.run([found, *args], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pre_commit_runs_the_same_checks():
    entries = re.findall(r'entry: (\w+)', (ROOT / '.pre-commit-config.yaml').read_text())
    assert entries == list(COMMANDS)


def test_nox_covers_the_pythons_of_setup_py_and_the_makefile():
    pythons = re.findall(r"'(3\.\d+)'", (ROOT / 'noxfile.py').read_text())
    assert f"python_requires='>={pythons[0]}'" in (ROOT / 'setup.py').read_text()
    assert f'Python {pythons[0]} to {pythons[-1]}' in (ROOT / 'Makefile').read_text()
