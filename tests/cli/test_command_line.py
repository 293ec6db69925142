"""The command ``kdeov``: its help, its answers as text and JSON, and its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.cli import main
from kdeov_mm.cli.command_line import COMMANDS
from kdeov_mm.version import __version__

ROOT = Path(__file__).resolve().parents[2]
NAMES = ['red circle', 'dog', 'cup']


@pytest.fixture
def kdeov(capsys, monkeypatch):
    """Run a command in this process; exit status, stdout and stderr."""
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(sys, 'path', [*sys.path])

    def run(*args):
        try:
            status = main(list(map(str, args)))
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def model(trained):
    """Options that choose the student."""
    return '--model', trained[0], '--checkpoint', trained[1], '--device', 'cpu'


def test_help_needs_nothing_heavy():
    """Not even NumPy is imported for the help of any command: it is there at once."""
    code = (
        'import sys\nfrom kdeov_mm.cli import main\nfrom kdeov_mm.cli.command_line import COMMANDS\n'
        "for words in ([], *([name] for name in COMMANDS)):\n    try:\n        main([*words, '--help'])\n"
        '    except SystemExit as stop:\n        assert stop.code == 0\n'
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy', 'PIL', 'yaml', 'mmengine'})"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == 'set()', done.stderr
    for command in COMMANDS:
        assert f'usage: kdeov {command}' in done.stdout


@pytest.mark.parametrize('command', ['detect', 'classify', 'search'])
def test_help_of_a_command_begins_with_examples(kdeov, command):
    status, said, _ = kdeov(command, '--help')
    assert status == 0 and said.count(f'kdeov {command}') >= 3 and '--json' in said


def test_version(kdeov):
    assert kdeov('--version')[:2] == (0, f'kdeov_mm {__version__}\n')


def test_detect(kdeov, model, trained, photos):
    status, said, _ = kdeov(
        'detect', 'photos', '--names', *NAMES, '--score-thr', '0', '--out-dir', 'out', '--coco', 'found.json', *model
    )
    expected = KDEOVInferencer(*trained, device='cpu').detect('photos', NAMES, score_threshold=0.0)
    lines = said.splitlines()
    assert status == 0 and len(lines) == 4
    for line, result in zip(lines, expected):
        told, picture = line.split(' -> ')
        assert told.startswith(f'{result.image.name}: {result.names[0]} {result.scores[0]:.2f}')
        assert Path(picture).is_file()
    coco = COCO('found.json')
    assert len(coco.anns) == sum(map(len, expected)) and len(coco.imgs) == 3


def test_json_is_alone_on_stdout(kdeov, model, trained, broken):
    status, out, err = kdeov('detect', 'photos', '--names', *NAMES, '--score-thr', '0', '--json', *model)
    expected = KDEOVInferencer(*trained, device='cpu', on_error='skip').detect('photos', NAMES, score_threshold=0.0)
    assert status == 0 and [json.loads(line) for line in out.splitlines()] == expected.to_dicts()
    assert 'photos/broken.jpg' in err and not Path('work_dirs').exists()
    assert kdeov('--json', 'detect', 'photos', '--names', *NAMES, '--score-thr', '0', *model)[1] == out


def test_classify(kdeov, model, trained, photos):
    Path('names.txt').write_text('\n'.join(NAMES))
    status, said, _ = kdeov(
        'classify', 'photos/*.jpg', '--names-file', 'names.txt', '--top', 2, '--out-dir', 'out', *model
    )
    expected = KDEOVInferencer(*trained, device='cpu').classify('photos/*.jpg', NAMES, top=2)
    assert status == 0 and len(said.splitlines()) == 2 and len(list(Path('out').iterdir())) == 2
    assert said.startswith(f'photos/a.jpg: {expected[0].names[0]} {expected[0].probabilities[0]:.2f}, ')
    assert said.splitlines()[1].split(' -> ')[0].endswith(f', none of these {expected[1].none:.2f}')
    status, said, _ = kdeov('classify', 'photos/b.png', '--names', *NAMES, '--json', *model)
    assert (
        status == 0
        and list(json.loads(said)['names'])
        == KDEOVInferencer(*trained, device='cpu').classify('photos/b.png', NAMES)[0].names
    )


def test_search(kdeov, model, trained, photos):
    status, said, _ = kdeov('search', 'a dog', 'photos', '--top', 2, '--json', '--picture', 'found.png', *model)
    expected = KDEOVInferencer(*trained, device='cpu').search('a dog', 'photos', top=2)
    assert status == 0 and json.loads(said) == expected.to_dict() and Path('found.png').is_file()
    status, said, _ = kdeov('search', 'a dog', 'photos', '--threshold', 1, '--json', '--picture', 'none.png', *model)
    assert status == 0 and json.loads(said)['matches'] == [] and not Path('none.png').is_file()
    status, said, _ = kdeov('search', '--image', 'photos/b.png', 'photos', *model)
    assert status == 0 and said.splitlines()[0].endswith('photos/b.png') and len(said.splitlines()) == 3


@pytest.mark.parametrize('command', ['detect', 'classify', 'search'])
def test_hostile_files_in_a_folder_are_skipped_and_reported(kdeov, model, hostile, photos, command):
    folder, paths = hostile
    folder.rename(photos / 'hostile')
    odd = photos / os.fsdecode(b'odd\xff\x1b[31m.jpg')
    (photos / 'a.jpg').rename(odd)
    (photos / 'b.png').rename(photos / f'{"b" * 250}.png')
    options = ['--names', *NAMES, '--out-dir', 'out'] if command != 'search' else ['--picture', 'found.png']
    options += ['--score-thr', '0', '--coco', 'found.json'] if command == 'detect' else []
    given = ['a dog', 'photos'] if command == 'search' else ['photos']
    status, out, err = kdeov(command, *given, *options, *model)
    assert status == 0
    skipped = [line for line in err.splitlines() if line.startswith('skipped ')]
    assert len(skipped) == len(paths) and all(line.isprintable() for line in skipped + out.splitlines())
    assert sum('odd' in line for line in out.splitlines()) == 1
    if command == 'detect':
        content = json.loads(Path('found.json').read_text(encoding='utf-8'))
        assert len(content['images']) == 3 and len(list(Path('out').iterdir())) == 3
        json.dumps(content, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    'args, named',
    [
        (['detect', 'photos'], '--names'),
        (['detect', 'missing.jpg', '--names', 'dog'], 'missing.jpg'),
        (['detect', 'https://example.org/a.jpg', '--names', 'dog'], 'https://example.org/a.jpg'),
        (['detect', 'photos', '--names', 'dog', 'dog'], "'dog'"),
        (['detect', 'photos', '--names', 'dog', '--score-thr', '2'], '--score-thr 2'),
        (['classify', 'photos', '--names', 'dog', '--templates', 'no_such_set'], 'no_such_set'),
        (['search', 'a dog'], '--index'),
        (['search', 'a dog', 'photos', '--index', 'somewhere'], '--index'),
        (['search'], '--image'),
    ],
)
def test_what_cannot_be_used_exits_with_2_and_one_line(kdeov, model, photos, args, named):
    status, out, err = kdeov(*args, *model)
    assert status == 2 and out == '' and named in err.splitlines()[-1]


@pytest.mark.parametrize(
    'args, named',
    [
        (['detect', 'photos', '--names', 'dog', '--model', 'kdeov_yolov8'], 'kdeov_yolov8n'),
        (['dedect'], 'dedect'),
        ([], 'COMMAND'),
    ],
)
def test_unknown_names_exit_with_2(kdeov, photos, args, named):
    status, _, err = kdeov(*args)
    assert status == 2 and named in err


def test_what_fails_on_the_way_exits_with_1(kdeov, model, broken):
    status, _, err = kdeov('detect', broken, '--names', 'dog', *model)
    assert status == 1 and err.splitlines()[-1].startswith('error: images: ') and 'broken.jpg' in err
    Path('file').touch()
    status, _, err = kdeov('detect', 'photos/a.jpg', '--names', 'dog', '--out-dir', 'file/below', *model)
    assert status == 1 and err.splitlines()[-1].startswith('error: ')


@pytest.mark.parametrize(
    'error, expected', [(KeyboardInterrupt(), 130), (ImportError('no pandas;\nrun pip'), 1), (OSError('disk full'), 1)]
)
def test_exit_status_of_what_a_command_raises(kdeov, monkeypatch, error, expected):
    def run(*_):
        raise error

    monkeypatch.setattr('kdeov_mm.cli.command_line.run', run)
    status, out, err = kdeov('detect', 'photos', '--names', 'dog')
    assert (status, out) == (expected, '') and len(err.splitlines()) == 1
    if expected == 1:
        monkeypatch.setenv('KDEOV_TRACEBACK', '1')
        with pytest.raises(type(error)):
            kdeov('detect', 'photos', '--names', 'dog')


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    """``kdeov detect ... | head -1``: the pipe is closed while the command still prints."""
    code = (
        'from unittest import mock\nfrom kdeov_mm.cli import main\n'
        "def run(*_):\n    while True:\n        print('line', flush=True)\n"
        "with mock.patch('kdeov_mm.cli.command_line.run', run):\n"
        "    raise SystemExit(main(['detect', 'a', '--names', 'b']))"
    )
    done = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout.readline() == b'line\n'
    done.stdout.close()
    assert done.wait(120) == 0 and b'Error' not in done.stderr.read()


def test_tools_keep_their_options_and_errors(kdeov, photos):
    for command in ('train', 'test'):
        status, said, _ = kdeov(command, '--help')
        assert status == 0 and f'usage: kdeov {command}' in said and '--cfg-options' in said
        status, _, err = kdeov(command, 'absent.py', *(['weights.pth'] if command == 'test' else []))
        assert status == 2 and 'absent.py' in err.splitlines()[-1]
    assert kdeov('train')[0] == 2


@pytest.mark.parametrize('command', ['bench', 'export', 'index', 'demo'])
def test_examples_of_commands_are_of_kdeov(kdeov, command):
    status, said, _ = kdeov(command, '--help')
    assert status == 0 and said.count(f'kdeov {command} ') > 1 and 'python tools' not in said


@pytest.fixture
def stub(monkeypatch):
    """In place of what commands do: a note of their arguments."""

    def note(args):
        print('begin')
        return vars(args) if 'value' in vars(args).values() else None

    for command in ('index', 'export', 'train', 'test'):
        monkeypatch.setattr(f'kdeov_mm.cli.{command}.run', note)


def test_all_commands_answer_in_json(kdeov, stub):
    status, out, err = kdeov('test', 'value', '--json')
    answer = json.loads(out)
    assert status == 0 and answer['command'] == 'test' and answer['result']['config'] == 'value'
    assert 'begin' in err
    status, out, err = kdeov('--json', 'index', 'query', '--json', 'file')
    assert json.loads(out) == dict(command='index', output=['begin'])
    assert kdeov('export', 'x', 'y')[1] == 'begin\n'


def test_commands_know_models_by_name(kdeov, stub):
    args = json.loads(kdeov('--json', 'test', 'kdeov_yolov8n', '--work-dir', 'value')[1])['result']
    assert args['config'] == str(ROOT / 'configs' / 'kdeov_yolov8n.py')
    assert args['checkpoint'].endswith('kdeov_yolov8n.safetensors') and args['work_dir'] == 'value'
    args = json.loads(kdeov('--json', 'train', 'kdeov_yolov8n', '--work-dir', 'value')[1])['result']
    assert args['config'] == str(ROOT / 'configs' / 'kdeov_yolov8n.py')


def test_options_of_a_config_are_those_of_mmengine(kdeov):
    """The pairs are kept as text until the config is read; then they mean what MMEngine's own action makes of them."""
    import argparse

    from mmengine.config import DictAction

    from kdeov_mm.cli.command_line import parse

    pairs = ['a.b=1', 'c=[x,2.5,(1,None)]', 'd=True', 'e="[a,b]"', 'f=x=y', 'g=', 'c.0=z']
    expected = argparse.ArgumentParser()
    expected.add_argument('--cfg-options', nargs='+', action=DictAction)
    given = parse(['train', 'c.py', '--cfg-options', *pairs]).args.cfg_options
    assert given.parse() == expected.parse_args(['--cfg-options', *pairs]).cfg_options
    status, _, err = kdeov('train', 'c.py', '--cfg-options', 'no_value')
    assert status == 2 and 'no_value' in err


def test_python_m(photos):
    """As a program: a usage error is seen by the shell."""
    done = subprocess.run([sys.executable, '-m', 'kdeov_mm', 'detect'], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and 'usage: kdeov detect' in done.stderr


def test_errors_of_libraries_are_printed_safely(kdeov, monkeypatch):
    def fail(*args):
        raise OSError('\x1b[31m\u202e\udcff.jpg\nsecond line')

    monkeypatch.setattr('kdeov_mm.cli.command_line.run', fail)
    status, _, err = kdeov('detect', 'photos', '--names', 'dog')
    assert status == 1 and err.strip().isprintable() and '.jpg' in err
