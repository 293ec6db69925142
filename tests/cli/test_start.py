"""What a start imports: nothing heavy for help and errors, no PyTorch for exported models, all of it for training."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kdeov_mm.cli.command_line import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmyolo', 'open_clip', 'onnxruntime', 'lancedb', 'gradio'}
# The bar is 0.5 s of an idle processor; tests run beside others, which slows each of them down.
SECONDS = 0.5
BUSY = 3


def run(code_or_words, **options):
    """A new process of Python, or of ``kdeov``; its processor time, too."""
    command = ['-c', code_or_words] if isinstance(code_or_words, str) else ['-m', 'kdeov_mm', *map(str, code_or_words)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith('COV')}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *command],
        capture_output=True,
        text=True,
        env=dict(environment, PYTHONPATH=str(ROOT)),
        **options,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    done.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done


def imported(words, folder):
    """The exit status of a command, its stdout, and the packages that it imported."""
    done = run(
        'import json, sys\nfrom kdeov_mm.cli import main\n'
        f'try:\n    status = main({list(map(str, words))!r})\nexcept SystemExit as stop:\n    status = stop.code\n'
        "print(json.dumps([status, sorted({name.split('.')[0] for name in sys.modules})]))",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    status, names = json.loads(last)
    return status, said, set(names)


def test_the_package_itself_imports_nothing_heavy():
    done = run('import sys, kdeov_mm.apis, kdeov_mm.deploy, kdeov_mm.utils\nprint({*%r} & {*sys.modules})' % HEAVY)
    assert done.stdout == 'set()\n', done.stderr


ERRORS = [
    ['nonsense'],
    ['detect', 'photos', '--names', 'dog', '--no-such-option'],
    ['detect', 'absent.jpg', '--names', 'dog'],
    ['detect', 'https://example.org/a.jpg', '--names', 'dog'],
    ['detect', 'photos', '--names', 'dog', '--model', 'kdeov_yolov8'],
    ['detect', 'photos', '--names', 'dog', '--model', './absent'],
    ['detect', 'photos', '--names', 'dog', '--model', 'absent.onnx'],
    ['detect', 'photos', '--names', 'dog', '--score-thr', '2'],
    ['classify', 'photos', '--names', 'dog', 'dog'],
    ['classify', 'photos', '--names-file', 'absent.txt'],
    ['classify', 'photos', '--names', 'dog', '--checkpoint', 'absent.pth'],
    ['search', 'a dog'],
    ['search', 'a dog', '--index', 'absent'],
    ['search', '--image', 'absent.jpg', 'photos'],
    ['index', 'build', 'absent', '--model', 'absent.onnx'],
    ['index', 'query', 'a dog', '--index', 'absent'],
    ['export', 'absent.py', 'absent.pth'],
    ['export', 'kdeov_yolov8n', '--vocabulary', 'absent.txt'],
    ['demo', 'absent'],
    ['bench', '--threads', '0'],
    ['train', 'absent.py'],
    ['test', 'kdeov_yolov8n', 'absent.pth'],
]


@pytest.mark.parametrize('words', ERRORS, ids=' '.join)
def test_a_wrong_argument_is_answered_before_anything_heavy_is_imported(words, photos):
    status, said, names = imported(words, photos.parent)
    assert status == 2 and said == [] and not names & HEAVY
    assert {path.name for path in photos.parent.iterdir()} == {'photos'}


def test_answers_come_at_once(photos):
    """Processor time, the best of three: what else the machine does disturbs it a little."""
    for words in (
        [],
        ['detect', 'absent.jpg', '--names', 'dog'],
        ['detect', 'photos', '--names', 'dog', '--model', 'x'],
    ):
        assert (
            min(run([*words, *['--help'] * (not words)], cwd=photos.parent).seconds for _ in range(3)) < SECONDS * BUSY
        )
    for command in COMMANDS:
        assert min(run([command, '--help']).seconds for _ in range(3)) < SECONDS * BUSY


@pytest.mark.parametrize(
    'words',
    [
        ['detect', 'photos/a.jpg', '--names', 'dog', '--score-thr', '0', '--coco', 'found.json'],
        ['detect', 'photos', '--names', 'dog', '--json'],
        ['classify', 'photos/a.jpg', '--names', 'dog', 'cat', '--out-dir', 'out'],
        ['search', 'a dog', 'photos', '--picture', 'found.png'],
        ['search', '--image', 'photos/a.jpg', 'photos'],
    ],
    ids=' '.join,
)
def test_exported_models_need_no_pytorch(words, exported, photos):
    status, said, names = imported([*words, '--model', exported], photos.parent)
    assert status == 0 and said and not names & {*HEAVY} - {'onnxruntime'}


def test_an_index_is_searched_without_pytorch(exported, photos):
    pytest.importorskip('lancedb', reason='an index needs LanceDB')
    model, text = exported / 'image_encoder.onnx', exported / 'text_encoder.onnx'
    for words in (
        ['index', 'build', 'photos', '--model', model, '--text', text, '--index', 'index'],
        ['search', 'a dog', '--index', 'index'],
        ['index', 'query', 'a dog', '--index', 'index'],
    ):
        status, said, names = imported(words, photos.parent)
        assert status == 0 and said and not names & {'torch', 'mmengine'}


@pytest.mark.parametrize(
    'first',
    [
        "from importlib.util import find_spec\nassert find_spec('torch') and find_spec('mmyolo')\n"
        'assert "torch" not in sys.modules\nimport torch',
        'from mmengine.runner import Runner',
        'import kdeov_mm.models',
        *(
            pytest.param(code, marks=pytest.mark.slow)  # in other ways to one of these
            for code in (
                'import mmyolo',
                'from safetensors.torch import load_file',
                'import open_clip',
                'from kdeov_mm.utils import load_config',
            )
        ),
    ],
)
def test_whatever_is_imported_first_the_registries_know_our_classes(first):
    """And the package that came first is the real one, imported once; to ask whether it is there imports nothing."""
    done = run(
        f'import sys, kdeov_mm\nassert "torch" not in sys.modules\n{first}\n'
        'import torch, mmcv, mmengine\nfrom mmyolo.registry import HOOKS, METRICS, MODELS\n'
        "assert [each.get(name) for each, name in ((MODELS, 'KDEOV'), (HOOKS, 'VocabularyHook'),"
        " (METRICS, 'OVCocoMetric'))].count(None) == 0\n"
        'from mmengine.logging import HistoryBuffer\n'
        'import io\nfile = io.BytesIO()\ntorch.save(HistoryBuffer([0.5], [1]), file)\nfile.seek(0)\n'
        'if torch.__version__ >= "2.6":\n    torch.load(file, weights_only=True)\n'
        'for module in (torch, mmcv, mmengine):\n'
        "    assert type(module.__spec__.loader).__module__ != 'kdeov_mm.plugin' and module.__file__\n"
        "assert not [finder for finder in sys.meta_path if type(finder).__module__ == 'kdeov_mm.plugin']"
    )
    assert done.returncode == 0, done.stderr


def test_a_stack_that_cannot_work_is_told_at_each_import(tmp_path):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text("raise RuntimeError('operator does not exist')")
    done = run(
        f'import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport kdeov_mm\n'
        'for _ in range(2):\n    try:\n        import mmengine\n'
        '    except ImportError as error:\n        print(type(error).__name__)'
    )
    assert done.stdout.splitlines() == ['StackError', 'StackError'], done.stderr
