"""The wheel, as for an upload, and what it gives when it is installed where there is no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    'setup.py',
    'MANIFEST.in',
    'pyproject.toml',
    'requirements.txt',
    'LICENSE',
    'README.md',
    'Makefile',
    'model-index.yml',
)
PROBES = ('kdeov_mm/models/clip/weights/probe.safetensors', 'kdeov_mm/models/probe.json', 'kdeov_mm/probe.txt')


@pytest.fixture(scope='session')
def source(tmp_path_factory):
    """A copy of what is packaged, so that builds leave nothing in the tree, with a data file of each kind."""
    folder = tmp_path_factory.mktemp('source')
    for name in ('kdeov_mm', 'configs', 'tools', 'requirements', 'docs/web'):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    for name in FILES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
    for name in PROBES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{}')
    return folder


def pack(source, code):
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', f'import setuptools.build_meta as build; {code}'],
        cwd=source,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope='session')
def wheel(source, tmp_path_factory):
    """A wheel built from the source distribution, as for an upload."""
    folder = tmp_path_factory.mktemp('wheel')
    pack(source, f'build.build_sdist({str(folder)!r})')
    (archive,) = folder.glob('*.tar.gz')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, archive],
        check=True,
        capture_output=True,
    )
    return next(folder.glob('kdeov_mm-*.whl'))


class Environment:
    """A virtual environment of its own, and a folder to work in that is no checkout.

    The requirements, gigabytes of them, are those of the environment that runs the tests: each is linked, and
    ``kdeov_mm`` is not.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder / 'venv', with_pip=True)
        self.bin, self.folder = folder / 'venv' / 'bin', folder / 'work'
        self.folder.mkdir()
        (folder / 'requirements').mkdir()
        for package in Path(sysconfig.get_path('purelib')).iterdir():
            if 'kdeov' not in package.name and not package.name.startswith(('pip', '_distutils_hack', 'distutils-')):
                (folder / 'requirements' / package.name).symlink_to(package)
        (packages,) = (folder / 'venv').glob('lib/python*/site-packages')
        (packages / 'requirements.pth').write_text(str(folder / 'requirements'))

    def run(self, program: str, *args, **options) -> subprocess.CompletedProcess:
        """Run a program of the environment."""
        environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
        return subprocess.run(
            [self.bin / program, *map(str, args)],
            text=True,
            **{
                'cwd': self.folder,
                'capture_output': True,
                'env': dict(environment, PATH=f'{self.bin}{os.pathsep}{os.environ["PATH"]}'),
                **options,
            },
        )


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """An environment with the wheel in it."""
    environment = Environment(tmp_path_factory.mktemp('installed'))
    done = environment.run('python', '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', wheel)
    assert done.returncode == 0, done.stderr
    return environment
