import csv
import json
import os
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from kdeov_mm.models.clip.class_embeddings import cache_dir


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def test(zero_shot_config):
    """Test once: metrics, and how many batches the network saw."""

    def run(root, config='kdeov_yolov8n_folder', change=lambda cfg: None):
        cfg = zero_shot_config(config, root)
        change(cfg)
        runner = Runner.from_cfg(cfg)
        batches = []
        runner.model.register_forward_hook(lambda *_: batches.append(1))
        return runner.test(), len(batches), Path(runner.work_dir)

    return run


def test_other_prompts_need_no_image(test, cifar_folder):
    root = cifar_folder / 'test'
    first, batches, work_dir = test(root)
    assert batches == 4 and len(list((cache_dir() / 'image_bank').iterdir())) == 1
    again, batches, _ = test(root)
    assert batches == 0 and again == {**first, **{key: again[key] for key in again if 'time' in key}}

    def prompts(cfg):
        cfg.test_evaluator[0].templates = 'none'

    def prompts_of_the_model(cfg):
        cfg.test_evaluator[0].templates = None
        cfg.model.text_encoder.templates = 'none'

    same, batches, _ = test(root, change=prompts_of_the_model)
    assert batches == 0
    other, batches, _ = test(root, change=prompts)
    assert batches == 0 and other != again
    assert {key: same[key] for key in same if '/' in key} == {key: other[key] for key in other if '/' in key}
    for name in ('folder_confusion.png', 'folder_per_class.csv', 'report.md', 'metrics.json'):
        assert (work_dir / 'report' / name).is_file()
    rows = list(csv.reader((work_dir / 'report' / 'folder_per_class.csv').open()))
    assert [row[:3] for row in rows[1:3]] == [['airplane', 'all', '12'], ['automobile', 'all', '12']]
    accuracy = sum(float(row[3]) for row in rows[1:]) / 10
    assert json.loads((work_dir / 'report' / 'metrics.json').read_text())['folder/all/mean_per_class'] == pytest.approx(
        accuracy, abs=1e-5
    )


def test_the_cache_equals_a_plain_loop(test, cifar_folder):
    def off(cfg):
        cfg.test_cfg.cache = False

    root = cifar_folder / 'test'
    expected, batches, _ = test(root, change=off)
    assert batches == 4 and not (cache_dir() / 'image_bank').exists()
    for _ in range(2):
        metrics = test(root)[0]
        assert {key: metrics[key] for key in metrics if '/' in key} == {
            key: expected[key] for key in expected if '/' in key
        }


@pytest.mark.parametrize('change', ['weights', 'image', 'pipeline', 'damage'])
def test_what_changes_an_embedding_is_another_cache(test, cifar_folder, tmp_path, change):
    root = tmp_path / 'data'
    for path in (cifar_folder / 'test').glob('*/0000.jpg'):
        (root / path.parent.name).mkdir(parents=True)
        os.link(path, root / path.parent.name / path.name)
    assert test(root)[1] == 1
    file = next((cache_dir() / 'image_bank').iterdir())

    def edit(cfg):
        if change == 'weights':
            cfg.randomness.seed = 1
        elif change == 'pipeline':
            cfg.test_dataloader[0].dataset.pipeline[0].scale = (64, 64)

    if change == 'image':
        path = root / 'cat' / '0000.jpg'
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    if change == 'damage':
        file.write_bytes(file.read_bytes()[:100])
    assert test(root, change=edit)[1] == 1
    assert len(list((cache_dir() / 'image_bank').iterdir())) == (1 if change == 'damage' else 2)


def test_several_data_sets_in_one_run(test, cifar10, cifar100, imagenet_val, tmp_path):
    root = tmp_path / 'data'
    (root / 'imagenet').mkdir(parents=True)
    for name, path in (('cifar10', cifar10), ('cifar100', cifar100)):
        (root / name).symlink_to(path)
    wnids = sorted(path for path in imagenet_val.iterdir())[:20]
    (root / 'imagenet' / 'val').mkdir()
    for path in wnids:
        (root / 'imagenet' / 'val' / path.name).symlink_to(path)
    metrics, batches, work_dir = test(root, 'kdeov_yolov8n_zero-shot')
    assert batches == 4 + 1, 'the two CIFAR samples hold the same images'
    chance = {name: metrics[f'chance/{name}/all/top1'] for name in ('cifar10', 'cifar100', 'imagenet')}
    assert chance == dict(cifar10=0.1, cifar100=0.01, imagenet=0.05)
    report = (work_dir / 'report' / 'report.md').read_text()
    assert '| CIFAR-10 | all | top-3 |' in report and '| ImageNet-1k | all | mean per class |' in report
    for name in ('cifar10', 'cifar100', 'imagenet'):
        single, batches, _ = test(root, f'kdeov_yolov8n_{name}')
        assert batches == 0 and single[f'{name}/all/top5'] == metrics[f'{name}/all/top5']


def test_a_bad_embedding_names_the_image(zero_shot_config, cifar_folder):
    runner = Runner.from_cfg(zero_shot_config('kdeov_yolov8n_folder', cifar_folder / 'test'))

    def damage(module, inputs, outputs):
        outputs[3].image_embedding = torch.full_like(outputs[3].image_embedding, torch.nan)

    runner.model.register_forward_hook(damage)
    with pytest.raises(ValueError, match=r'airplane/0003\.jpg.*image_embedding'):
        runner.test()
    assert not (cache_dir() / 'image_bank').exists()


def test_time_in_the_network_is_told(zero_shot_config, cifar_folder):
    runner = Runner.from_cfg(zero_shot_config('kdeov_yolov8n_folder', cifar_folder / 'test'))
    runner.test()
    (hook,) = [hook for hook in runner.hooks if type(hook).__name__ == 'NetworkTimeHook']
    assert hook.images == 120 and all(0 < ratio < 1 for ratio in hook.ratio.values())
