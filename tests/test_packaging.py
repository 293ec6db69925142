"""The wheel carries the package, data, configs and tools; ``make`` installs once and repairs what was cut."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest
from packaging.markers import default_environment
from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from packaging_fixtures import PROBES, ROOT, pack


def test_wheel_contents(source, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(source))
        for path in source.glob('kdeov_mm/**/*')
        if path.suffix in ('.py', '.typed', '.json', '.safetensors', '.txt') and '.mim' not in path.parts
    }
    mim = {
        f'kdeov_mm/.mim/{path.relative_to(source)}'
        for folder in ('configs', 'tools', 'docs/web')
        for path in source.glob(f'{folder}/**/*')
        if path.suffix in ('.py', '.sh', '.html', '.js', '.css')
    }
    if (source / 'model-index.yml').exists():
        mim.add('kdeov_mm/.mim/model-index.yml')
    assert set(PROBES) <= package and {f'kdeov_mm/.mim/{name}' for name in ('tools/train.py', 'docs/web/app.js')} <= mim
    packed = {name for name in names if '.dist-info/' not in name}
    assert package | mim <= packed
    assert all(name.startswith('kdeov_mm/') and '__pycache__' not in name for name in packed)


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith('.dist-info/METADATA'))).decode()
        licenses = [name for name in archive.namelist() if name.endswith('LICENSE')]
        assert 'GNU GENERAL PUBLIC LICENSE' in archive.read(licenses[0]).decode()
        (top_level,) = (name for name in archive.namelist() if name.endswith('.dist-info/top_level.txt'))
        assert archive.read(top_level).decode().split() == ['kdeov_mm']
    for field in ('Name: kdeov_mm\n', 'Requires-Python: >=3.10\n', 'GPL-3.0-only'):
        assert field in metadata
    for needed in ('mmyolo==0.6.0', 'mmdet==3.3.0', 'mmengine==0.10.7', 'mmcv-lite==2.1.0', 'torch>=2.1'):
        assert f'Requires-Dist: {needed}\n' in metadata
    needed = [Requirement(line) for line in parse_email(metadata)[0]['requires_dist']]
    pinned = {each.name for each in needed if any(bound.operator == '==' for bound in each.specifier)}
    assert pinned == {'mmcv-lite', 'mmdet', 'mmengine', 'mmyolo'}  # the rest is for those who install it to choose


def test_the_source_distribution_has_requirements_and_no_lock(wheel):
    (archive,) = wheel.parent.glob('*.tar.gz')
    names = {name.partition('/')[2] for name in tarfile.open(archive).getnames()}
    assert 'requirements/runtime.txt' in names and not [name for name in names if name.endswith('lock.txt')]


def test_tools_of_the_wheel(wheel, tmp_path):
    """``.mim/tools/train.py`` runs from an installed wheel, outside the source tree."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', tmp_path / 'kdeov_mm/.mim/tools/train.py', 'absent.py'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(tmp_path)),
    )
    assert done.returncode == 2 and re.match(r'error: .*absent\.py', done.stderr.splitlines()[-1])


def test_editable_installation(source, tmp_path):
    """Configs and tools are links, so that an edit of them is seen without another installation."""
    pack(source, f'build.build_editable({str(tmp_path)!r})')
    assert list(tmp_path.glob('*.whl'))
    for name in ('configs', 'tools', 'docs/web'):
        if (source / name).exists():
            link = source / 'kdeov_mm/.mim' / name
            assert link.is_symlink() and link.resolve() == source / name


def test_make_help_names_every_target():
    targets = re.search(r'^\.PHONY: (.*)', (ROOT / 'Makefile').read_text(), re.MULTILINE)[1].split()
    said = subprocess.run(['make', '-s', 'help'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(targets) > 8 and [name for name in targets if not re.search(rf'^make {name} ', said, re.M)] == ['help']


LOCKED = '--require-hashes --only-binary :all:'
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in *"${FAIL_ON:-nothing}"*) exit 1 ;; esac
case "$*" in *"-m venv"*) mkdir -p venv/bin; cp fake venv/bin/python ;; esac
"""


@pytest.fixture
def make(source, tmp_path):
    """Run ``make install`` with a Python that notes its arguments; return exit status, calls and stderr."""
    for name in ('Makefile', 'setup.py', 'requirements.txt'):
        shutil.copy(source / name, tmp_path)
    shutil.copytree(source / 'requirements', tmp_path / 'requirements')
    (tmp_path / 'fake').write_text(PYTHON)
    (tmp_path / 'fake').chmod((tmp_path / 'fake').stat().st_mode | stat.S_IEXEC)

    # a make that runs the tests hands its variables on in MAKEFLAGS
    environment = {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}

    def make(fail_on='', *variables):
        (tmp_path / 'calls').unlink(missing_ok=True)
        done = subprocess.run(
            ['make', 'install', 'VENV=venv', 'PYTHON=./fake', *variables],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=dict(environment, FAIL_ON=fail_on),
        )
        calls = tmp_path / 'calls'
        return done.returncode, calls.read_text() if calls.exists() else '', done.stderr

    make.folder = tmp_path
    return make


def test_make_installs_once(make):
    status, calls, _ = make()
    assert status == 0 and '-m venv venv' in calls and f'{LOCKED} -r requirements/lock.txt' in calls and '-e .' in calls
    assert make()[:2] == (0, '')
    with open(make.folder / 'requirements/runtime.txt', 'a') as file:
        file.write('new\n')
    status, calls, _ = make()
    assert status == 0 and '-r requirements/lock.txt' in calls and '-m venv' not in calls
    assert make()[:2] == (0, '')


@pytest.mark.parametrize('where', ['-m venv', '-r requirements/lock.txt', '-e .', 'import kdeov_mm'])
def test_make_repairs_a_cut_installation(make, where):
    """Nothing counts as installed until all is; what was begun is begun anew."""
    assert make(fail_on=where)[0] != 0
    (make.folder / 'venv/half').mkdir(parents=True, exist_ok=True)
    status, calls, _ = make()
    assert status == 0 and '-m venv venv' in calls and 'import kdeov_mm' in calls
    assert not (make.folder / 'venv/half').exists()


def test_make_keeps_a_given_environment(make):
    """An environment that someone else made is added to, never removed, also when that fails."""
    (make.folder / 'venv/bin').mkdir(parents=True)
    shutil.copy(make.folder / 'fake', make.folder / 'venv/bin/python')
    (make.folder / 'venv/mine').touch()
    assert make(fail_on='-r requirements/lock.txt')[0] != 0
    status, calls, _ = make()
    assert status == 0 and '-m venv' not in calls and (make.folder / 'venv/mine').exists()


def test_make_takes_the_headless_opencv_by_its_checksum(make):
    status, calls, _ = make('import cv2')
    (line,) = (line for line in calls.splitlines() if 'headless' in line)
    assert status == 0 and LOCKED in line and line.endswith('-r requirements/headless-lock.txt')


def test_make_installs_the_newest_versions_on_demand(make):
    make()
    status, calls, _ = make('', 'REQUIREMENTS=requirements.txt')
    assert status == 0 and '-r requirements.txt' in calls and '--require-hashes' not in calls


def test_make_refuses_another_python(make):
    status, _, said = make(fail_on='import sys')
    assert status != 0 and '3.10 to 3.12' in said and not (make.folder / 'venv').exists()


LINUX = dict(
    implementation_name='cpython',
    os_name='posix',
    platform_machine='x86_64',
    platform_python_implementation='CPython',
    platform_system='Linux',
    sys_platform='linux',
)


def read_lock(python, name='lock.txt'):
    """The locked version of each package, by canonical name, for a Python on Linux; each line has checksums."""
    environment = dict(default_environment(), **LINUX, python_version=python, python_full_version=f'{python}.9')
    lines = [
        line for line in (ROOT / 'requirements' / name).read_text().splitlines() if not line.strip().startswith('#')
    ]
    versions = {}
    for entry in re.split(r'(?<!\\)\n', '\n'.join(lines)):
        first, *hashes = entry.split(' \\\n')
        assert hashes and all(re.fullmatch(r'    --hash=sha256:[0-9a-f]{64}', line) for line in hashes), entry
        package = Requirement(first)
        assert package.url is None and [bound.operator for bound in package.specifier] == ['=='], first
        if package.marker is None or package.marker.evaluate(environment):
            assert canonicalize_name(package.name) not in versions, f'{first}: twice'
            versions[canonicalize_name(package.name)] = next(iter(package.specifier)).version
    return versions


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12'])
def test_the_lock_has_what_the_requirements_name(python):
    """Otherwise run ``make lock LOCK_OPTIONS=``."""
    locked = read_lock(python)
    for name in re.findall(r'^-r (.*)', (ROOT / 'requirements.txt').read_text(), re.MULTILINE):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith('#'):
                needed = Requirement(line)
                version = locked.get(canonicalize_name(needed.name))
                assert version and needed.specifier.contains(version), f'{name}: {line}, locked: {version}'
    assert read_lock(python, 'headless-lock.txt') == {'opencv-python-headless': locked['opencv-python']}


def test_licences_of_all_locked_packages_are_listed():
    """Otherwise run ``make licences``."""
    words, table = (ROOT / 'docs' / 'licences.md').read_text().split('<!-- make licences -->')
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines() if line.startswith('| ')
    ]
    listed = {canonicalize_name(name): version for name, version, _ in rows[1:]}
    assert listed == read_lock('3.11') and all(licence for _, _, licence in rows)
    unknown = {name for name, _, licence in rows if licence == 'UNKNOWN'}
    elsewhere = (read_lock('3.10').keys() | read_lock('3.12').keys()) - listed.keys()
    assert [name for name in sorted({*unknown, *elsewhere}) if f'`{name}`' not in words] == []


def test_pre_commit_and_nox_run_what_make_lint_runs():
    recipe = (ROOT / 'Makefile').read_text().split('\nlint: install\n')[1].split('\n\n')[0]
    commands = [
        line.strip().removeprefix('$(PY) -m ').replace('codespell_lib', 'codespell') for line in recipe.split('\n')
    ]
    entries = re.findall(r'entry: (.+)', (ROOT / '.pre-commit-config.yaml').read_text())
    assert [entry.split()[0] for entry in entries] == [command.split()[0] for command in commands]
    assert all(f"'{command.split()[0]}'" in (ROOT / 'noxfile.py').read_text() for command in commands)


def test_nox_covers_the_pythons_of_setup_py_and_the_makefile():
    pythons = re.findall(r"'(3\.\d+)'", (ROOT / 'noxfile.py').read_text())
    assert f"python_requires='>={pythons[0]}'" in (ROOT / 'setup.py').read_text()
    assert f'Python {pythons[0]} to {pythons[-1]}' in (ROOT / 'Makefile').read_text()
