"""The tutorials and "get started", command by command, in a tiny setting."""

import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from docs_commands import ROOT, read_commands
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import save_file

from kdeov_mm.cli import main as kdeov
from kdeov_mm.utils import resolve_checkpoint

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which the documents' relative paths are those of a checkout."""
    for name in ('configs', 'tools', 'kdeov_mm'):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch):
    """Run those commands of a document that call a tool or ``kdeov``, with more options for some of the tools."""

    def run(document, **more):
        done = []
        for command in read_commands(ROOT / 'docs' / document):
            if command.words[0] == 'python':
                tool = Path(command.words[1])
                monkeypatch.setattr(sys, 'argv', [*command.words[1:], *more.get(tool.stem, ())])
                runpy.run_path(str(tool), run_name='__main__')
                done.append(tool.stem)
            elif command.words[0] == 'kdeov':
                assert kdeov(command.words[1:]) == 0
                done.append(command.words[1])
        return done

    return run


def blocks(document):
    return re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / document).read_text(), re.DOTALL)


def found(folder):
    """The detections in a folder that ``kdeov detect`` wrote: names and scores, and whether there are pictures."""
    coco = COCO(str(Path(folder) / 'detections.json'))
    assert len(list(Path(folder).glob('*.png'))) == len(coco.imgs)
    names = {category['id']: category['name'] for category in coco.cats.values()}
    return [(names[item['category_id']], item['score']) for item in coco.anns.values()]


def test_get_started(run):
    assert run('get_started.md') == ['make_shapes', 'detect']
    truth = COCO('data/first/annotations/instances_test.json')
    detections = found('work_dirs/first')
    assert len(truth.imgs) == 8 and detections and all(score >= 0.3 for _, score in detections)


def test_first_words_of_the_readme(folder, monkeypatch, capsys):
    """What stands below "Your own words in your own images", as a newcomer would type it."""
    text = (ROOT / 'README.md').read_text().split('## Your own words in your own images\n')[1].split('\n## ')[0]
    shell, python = re.findall(r'```\w*\n(.*?)```', text, re.DOTALL)
    for words in (shlex.split(line, comments=True) for line in shell.splitlines()):
        if words[0] == 'python':
            monkeypatch.setattr(sys, 'argv', words[1:])
            runpy.run_path(words[1], run_name='__main__')
        elif words[:2] == ['kdeov', 'detect']:
            assert kdeov(words[1:]) == 0
    said = capsys.readouterr().out
    assert 'cyan circle 0.' in said and said.count(' 0.') == 1  # one name, one box
    assert len(list(Path('found').glob('*.png'))) == 1
    shown = []
    monkeypatch.setattr(Image.Image, 'show', lambda image: shown.append(image.size))
    exec(python, {})
    assert len(shown) == 1 and "'rank': 1" in capsys.readouterr().out


def test_own_classes(run, capsys):
    Path('names.txt').write_text('red circle\nblue circle\ngreen star\nyellow fish\n')
    embed, python = blocks('tutorials/own_classes.md')
    exec(embed, {})
    assert run('tutorials/own_classes.md') == ['make_shapes', 'detect', 'detect', 'detect']
    assert {name for name, _ in found('work_dirs/names')} <= {'red circle', 'blue circle', 'a star of any colour'}
    assert all(score >= 0.4 for _, score in found('work_dirs/templates'))
    capsys.readouterr()
    names = {}
    exec(python, names)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith('data/mine/test/')]
    assert len(told) == len(found('work_dirs/ready')) > 0
    best = max(score for _, score in found('work_dirs/ready'))
    scores = [float(re.search(r'(\d\.\d+(?:e-\d+)?) \[', line)[1]) for line in told]
    assert max(scores) == pytest.approx(best, abs=2e-3)


@pytest.mark.slow
def test_own_images(run, folder):
    (config,) = blocks('tutorials/own_images.md')
    (folder / 'my_config.py').write_text(config)
    quiet = ['--cfg-options', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    assert run('tutorials/own_images.md', train=quiet) == ['make_shapes', 'train', 'test', 'detect']
    assert resolve_checkpoint('work_dirs/mine').endswith('epoch_2.pth')
    report = (folder / 'work_dirs/mine/report/report.md').read_text()
    assert 'novel' in report and 'AP50' in report
    assert {name for name, _ in found('work_dirs/seen')} <= {'red circle', 'blue star'}


@pytest.mark.slow
def test_own_teacher(run, folder):
    """The document's config with a small architecture, whose weights are random, in the place of ViT-B/32."""
    torch.manual_seed(0)
    (folder / 'weights').mkdir()
    save_file(open_clip.create_model('kdeov-shapes').state_dict(), 'weights/clip.safetensors')
    (config,) = blocks('tutorials/own_teacher.md')
    config = config.replace('ViT-B-32-quickgelu', 'kdeov-shapes').replace('embed_dims=512', 'embed_dims=128')
    config += '\nshapes_world = dict(sizes=dict(train=16, val=4, test=8, test_single=8))\n'
    (folder / 'teacher_config.py').write_text(config)
    small = [
        'train_dataloader.batch_size=8',
        'train_dataloader.num_workers=0',
        'train_cfg.max_epochs=1',
        'param_scheduler.1.end=2',
    ]
    assert run('tutorials/own_teacher.md', train=['--cfg-options', *small]) == ['train', 'test', 'cache_teacher']
    report = (folder / 'work_dirs/taught/report/metrics.json').read_text()
    assert 'teacher/zero_shot/all/top1' in report and 'zero_shot/all/top1' in report
    assert os.listdir('work_dirs/store/images')
