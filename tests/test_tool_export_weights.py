"""tools/model_converters/export_weights.py: weights without pickle that tools and OpenCLIP read."""

import re
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file

from kdeov_mm.utils import check_checkpoint, check_weights
from tool_loading import load_tool


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Run the tool in a folder with two checkpoints."""
    module = load_tool('export_weights')
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(dict(state_dict=network().state_dict(), meta={}), 'student.pth')
    clip = open_clip.create_model('kdeov-shapes').state_dict()
    torch.save(dict(state_dict={f'clip.{name}': value for name, value in clip.items()}), 'teacher.pth')

    def export(*args):
        monkeypatch.setattr(sys, 'argv', ['export_weights.py', *args])
        module.main()

    return export


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 2))


def test_weights_take_the_place_of_a_checkpoint(export):
    export('student.pth', 'out/student.safetensors')
    exact, model = network(), network()
    load_checkpoint(exact, 'student.pth', strict=True, logger='silent')
    check_weights(model, 'out/student.safetensors')
    load_checkpoint(model, 'out/student.safetensors', strict=True, logger='silent')
    stored = load_file('out/student.safetensors')
    for name, value in exact.state_dict().items():
        if value.ndim > 1:
            assert stored[name].dtype == torch.float16
            torch.testing.assert_close(model.state_dict()[name], value, rtol=2**-10, atol=1e-7)
        else:
            assert torch.equal(stored[name], value) and torch.equal(model.state_dict()[name], value)
    assert all(value.dtype == torch.float32 for value in model.parameters())


def test_openclip_reads_a_part_of_a_checkpoint(export):
    export('teacher.pth', 'teacher.safetensors', '--prefix', 'clip.')
    model = open_clip.create_model('kdeov-shapes', pretrained='teacher.safetensors')
    weights = torch.load('teacher.pth', weights_only=True)['state_dict']
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[f'clip.{name}'], rtol=2**-10, atol=1e-7)


@pytest.mark.parametrize(
    'args, named',
    [
        (['student.pth', 'student.pth'], r'student\.pth.*\.safetensors'),
        (['student.pth', 'out.safetensors', '--prefix', 'clip.'], r"student\.pth.*'clip\.'"),
        (['missing.pth', 'out.safetensors'], r'missing\.pth'),
    ],
)
def test_bad_input_gets_one_line(export, args, named, capsys):
    with pytest.raises(SystemExit) as stop:
        export(*args)
    assert stop.value.code == 2 and re.search(named, capsys.readouterr().err) and not Path('out.safetensors').exists()


def test_a_damaged_file_is_named(export, tmp_path):
    export('student.pth', 'cut.safetensors')
    content = Path('cut.safetensors').read_bytes()
    Path('cut.safetensors').write_bytes(content[:100])
    with pytest.raises(ValueError, match=r'cut\.safetensors'):
        check_checkpoint('cut.safetensors')
    Path('cut.safetensors').write_bytes(content)
    with pytest.raises(ValueError, match=r'cut\.safetensors'):
        check_checkpoint('cut.safetensors', resume=True)
