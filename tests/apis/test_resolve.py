"""Which files a model's name stands for, and that a folder that lies around is never taken for one."""

import importlib
import json
import os
from pathlib import Path

import pytest

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.apis.resolve import is_exported, is_path, resolve_model
from kdeov_mm.utils import InputError, find_model

NAME = 'kdeov_yolov8n'
ENTRY = find_model(NAME)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Folders in the current one, as of an unpacked archive, whose config makes the file RAN."""
    monkeypatch.chdir(tmp_path)
    for folder in (NAME, 'mine'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'c.py').write_text(f'open({str(tmp_path / "RAN")!r}, "w")')
        (tmp_path / folder / 'image_encoder.onnx').touch()
    (tmp_path / 'plain').mkdir()
    (tmp_path / 'plain' / 'c.py').write_text(f'open({str(tmp_path / "RAN")!r}, "w")')
    return tmp_path


def test_a_name_of_the_index_wins_over_a_folder(planted):
    assert resolve_model(NAME) == (ENTRY.config, ENTRY.weights)
    assert not is_exported(NAME) and not is_path(NAME)
    assert KDEOVInferencer(NAME, device='cpu').backend.embed_dims == 128
    assert not (planted / 'RAN').exists()


@pytest.mark.parametrize('name', ['mine', 'plain', '.', '..', 'a.pth', 'a.py', 'a.onnx', 'a.safetensors'])
def test_a_bare_name_is_no_folder(planted, name):
    (planted / 'mine').rename(planted / name) if name.startswith('a.') else None
    for checkpoint in (None, 'plain'):
        with pytest.raises(InputError) as caught:
            KDEOVInferencer(name, checkpoint)
        assert repr(os.path.join('.', name)) in str(caught.value)
    assert not (planted / 'RAN').exists()


@pytest.mark.parametrize('model', ['./plain', 'plain/', Path('plain')])
def test_a_path_is_a_work_dir(planted, model):
    assert resolve_model(model) == (str(Path('plain/c.py')), str(model))
    assert is_exported(type(model)(str(model).replace('plain', 'mine')))


def test_files_need_no_separator():
    assert resolve_model('config.py', 'weights.pth') == ('config.py', 'weights.pth')
    assert is_exported('image_encoder.onnx') and is_exported(['image_encoder.onnx'])
    for name in ('weights.pth', 'weights.safetensors', 'absent/folder'):
        with pytest.raises(InputError, match=name):
            resolve_model(name)


def test_weights_alone_are_no_model(planted):
    (planted / 'weights.pth').touch()
    with pytest.raises(InputError) as caught:
        resolve_model('weights.pth')
    assert '--checkpoint weights.pth' in str(caught.value)


@pytest.mark.parametrize('command', ['test', 'train', 'export'])
def test_tools_take_the_name_for_that_of_the_index(planted, command, monkeypatch, capsys):
    from kdeov_mm.cli import main

    module = importlib.import_module(f'kdeov_mm.cli.{command}')
    monkeypatch.setattr(module, 'run', lambda args: [args.config, *filter(None, [getattr(args, 'checkpoint', None)])])
    assert main(['--json', command, NAME]) == 0
    expected = [ENTRY.config] if command == 'train' else [ENTRY.config, ENTRY.weights]
    assert json.loads(capsys.readouterr().out)['result'] == expected
