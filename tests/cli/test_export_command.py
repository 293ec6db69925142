"""``kdeov export``: its files run, its checks are told, bad input is refused before anything is written."""

import json
import re

import pytest
from PIL import Image

from kdeov_mm.cli import main
from kdeov_mm.deploy import Runtime, read_image

NAMES = ['red circle', 'blue star', 'dog']


@pytest.fixture(scope='module')
def photos(tiny_world, tmp_path_factory):
    """Some images, and one that is none."""
    folder = tmp_path_factory.mktemp('photos')
    for path in sorted((tiny_world / 'test').glob('*.jpg'))[:6]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / 'broken.jpg').write_bytes(b'')
    return folder


def test_from_the_command_line_to_eight_bits(trained, photos, mmyolo_scope, tmp_path, capsys):
    (tmp_path / 'names.txt').write_text('\n'.join(NAMES))
    main(
        [
            'export',
            *trained,
            '--vocabulary',
            str(tmp_path / 'names.txt'),
            '--kinds',
            'image_encoder',
            'detector',
            'text_encoder',
            '--image-size',
            '64',
            '--check',
            str(photos),
            '--int8',
            str(photos),
            '--int8-for',
            'onnxruntime',
            'openvino',
            '--out-dir',
            str(tmp_path / 'out'),
        ]
    )
    told = capsys.readouterr()
    written = {path.name for path in (tmp_path / 'out').iterdir()}
    assert written == {
        'image_encoder.onnx',
        'image_encoder_int8.onnx',
        'image_encoder_int8_openvino.onnx',
        'detector.onnx',
        'detector_int8.onnx',
        'detector_int8_openvino.onnx',
        'text_encoder.onnx',
    }
    assert 'broken.jpg' in told.err
    (cosine,) = re.findall(r'image_encoder\.onnx: .*; 6 images, minimum cosine to PyTorch ([\d.]+)', told.out)
    assert float(cosine) >= 0.9999
    missing, ties = map(
        int,
        re.search(
            r'detector\.onnx: .*; (\d+) of either side unmatched at IoU 0.99 and '
            r'score difference 0.001, of which (\d+) by ties',
            told.out,
        ).groups(),
    )
    assert missing == ties
    assert len(re.findall(r'int8(?:_openvino)?\.onnx: float layers:', told.out)) == 4
    for suffix in ('', '_int8', '_int8_openvino'):
        runtime = Runtime(
            [tmp_path / 'out' / f'{kind}{suffix}.onnx' for kind in ('image_encoder', 'detector')]
            + [tmp_path / 'out' / 'text_encoder.onnx']
        )
        assert runtime.input_size == (64, 64) and runtime.names == NAMES
        images = [read_image(path) for path in sorted(photos.glob('0*.jpg'))]
        assert len(runtime.detect(images, score_threshold=0.0)) == len(runtime.classify(images, NAMES)) == 6
    described = json.loads(runtime.metadata['detector']['quantization'])
    assert described['runtime'] == 'openvino' and described['calibration_images'] == 6


@pytest.mark.parametrize(
    'options, named',
    [
        (['--kinds', 'detector'], '--vocabulary'),
        (['--vocabulary', 'empty.txt'], 'empty.txt'),
        (['--vocabulary', 'absent.txt'], 'absent.txt'),
        (['--kinds', 'image_encoder', '--image-size', '100'], '100'),
        (['--kinds', 'image_encoder', '--check', 'nowhere'], 'nowhere'),
        (['--kinds', 'image_encoder', '--int8', 'none'], 'none'),
    ],
)
def test_what_cannot_be_exported(trained, monkeypatch, tmp_path, capsys, options, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty.txt').write_text('\n')
    (tmp_path / 'none').mkdir()
    with pytest.raises(SystemExit) as stop:
        main(['export', *trained, *options, '--out-dir', 'out'])
    assert stop.value.code != 0
    assert named in capsys.readouterr().err + str(stop.value) and not (tmp_path / 'out').exists()


def test_images_that_cannot_be_read_are_no_check(trained, monkeypatch, tmp_path, mmyolo_scope, capsys):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    Image.new('F', (8, 8)).save(tmp_path / 'b.tiff')
    with pytest.raises(SystemExit) as stop:
        main(
            ['export', *trained, '--kinds', 'image_encoder', '--check', str(tmp_path)]
            + ['--out-dir', str(tmp_path / 'out')]
        )
    told = capsys.readouterr().err + str(stop.value)
    assert str(tmp_path) in told and 'a.jpg' in told and 'b.tiff' in told
