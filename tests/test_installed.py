"""The wheel, installed outside the checkout: the commands, the inferencer and OpenMIM work from it."""

import json
import subprocess

import pytest
from PIL import Image, ImageDraw

from kdeov_mm.cli.command_line import COMMANDS
from kdeov_mm.utils.model_index import read_index
from kdeov_mm.version import __version__

pytestmark = pytest.mark.slow
NAMES = ['red circle', 'blue star']
TINY = [
    '--data-root',
    'data/',
    '--work-dir',
    'out',
    '--cfg-options',
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=8',
    *(
        f'shapes_world.sizes.{split}={size}'
        for split, size in dict(teacher=8, train=8, val=8, test=8, test_single=8).items()
    ),
]


@pytest.fixture(scope='module')
def photo(installed):
    """A red circle."""
    image = Image.new('RGB', (128, 128), 'white')
    ImageDraw.Draw(image).ellipse((30, 30, 90, 90), fill='red')
    image.save(installed.folder / 'photo.png')
    return 'photo.png'


def test_it_is_the_wheels(installed):
    done = installed.run('python', '-c', 'import kdeov_mm; print(kdeov_mm.__file__)', cwd='/')
    assert done.returncode == 0, done.stderr
    assert all(str(installed.bin.parent) in path for path in done.stdout.split())
    assert installed.run('kdeov', '--version', cwd='/').stdout == f'kdeov_mm {__version__}\n'


@pytest.mark.parametrize('command', ['', *COMMANDS])
def test_help(installed, command):
    done = installed.run('kdeov', *[command] * bool(command), '--help', cwd='/')
    assert done.returncode == 0 and done.stdout.startswith(f'usage: kdeov {command}'.strip()), done.stderr


def test_inferencer(installed, photo):
    code = (
        'from kdeov_mm.apis import KDEOVInferencer\n'
        f"inferencer = KDEOVInferencer('kdeov_yolov8n', device='cpu')\nnames = {NAMES}\n"
        f"found = inferencer.detect('{photo}', names)[0]\n"
        f"print(set(found.names), inferencer.classify('{photo}', names)[0].name,"
        f" inferencer.search('a red circle', '{photo}').matches[0].image.name)"
    )
    done = installed.run('python', '-c', code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{{'red circle'}} red circle {photo}"


def test_detect(installed, photo):
    done = installed.run('kdeov', 'detect', photo, '--names', *NAMES, '--json')
    assert done.returncode == 0, done.stderr
    assert {found['name'] for found in json.loads(done.stdout)['detections']} == {'red circle'}


@pytest.fixture(scope='module')
def mim(installed):
    """Run OpenMIM in the environment, and return what it prints."""
    try:
        done = installed.run('python', '-m', 'pip', 'install', '-q', 'openmim', timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip('openmim does not install within five minutes')
    if done.returncode:
        pytest.skip(f'openmim does not install: {done.stderr.strip().splitlines()[-1]}')

    def mim(*args):
        done = installed.run('mim', *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return mim


def test_mim_lists_it(mim):
    (line,) = (line for line in mim('list').splitlines() if line.startswith('kdeov'))
    assert line.split()[1] == __version__


def test_mim_searches_its_models(mim):
    assert all(repr(name) in mim('search', 'kdeov_mm', '--valid-config') for name in read_index())
    said = mim('search', 'kdeov_mm', '--model', 'kdeov', '--dataset', 'coco 2017')
    assert 'config id: kdeov_yolov8n_ov-coco\n' in said and 'config id: kdeov_yolov5s' not in said


def test_mim_trains_and_tests(mim, installed):
    assert 'Training finished successfully' in mim('train', 'kdeov_mm', 'kdeov_yolov8n.py', '--gpus', 0, *TINY)
    assert (installed.folder / 'out' / 'epoch_1.pth').is_file()
    assert 'Testing finished successfully' in mim(
        'test', 'kdeov_mm', 'kdeov_yolov8n.py', '--checkpoint', 'out', '--gpus', 0, *TINY
    )
    assert (installed.folder / 'out' / 'report' / 'report.md').is_file()
