"""The configs of dual encoders: each trains on real captioned images, with small random towers, and is tested."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from kdeov_mm.evaluation import RetrievalMetric
from kdeov_mm.utils import load_config, unwrap
from tool_loading import load_tool

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs' / 'dual_encoder'
TOWERS = {  # the tiny image tower, its size, the kind of text tower
    'vit-distilbert_flickr8k_frozen': ('test_vit', 160, 'distilbert'),
    'vit-distilbert_flickr8k_finetuned': ('test_vit', 160, 'distilbert'),
    'xception-bert_coco': ('test_resnet', 64, 'bert'),
}


@pytest.fixture
def tiny_config(caption_roots, pairs, tiny_hugging_face, tmp_path):
    """Makes a config of a dual encoder with tiny towers, for two epochs of a few steps."""

    def make(name):
        trunk, size, kind = TOWERS[name]
        cfg = load_config(
            str(CONFIGS / f'{name}.py'),
            data_root=str(caption_roots / name.split('_')[1]),
            work_dir=str(tmp_path / name),
        )
        folder = tiny_hugging_face(kind, [text for texts in pairs.values() for text in texts])
        cfg.model.pretrained = False
        cfg.model.model_cfg.vision_cfg.update(timm_model_name=trunk, image_size=size)
        cfg.model.model_cfg.text_cfg.update(hf_model_name=folder, hf_tokenizer_name=folder)
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.update(num_workers=0, batch_size=8)
            loader.pop('persistent_workers', None)
        cfg.train_cfg.max_epochs = 2
        cfg.default_hooks.logger.interval = 1
        cfg.log_level = 'WARNING'
        cfg.experiment_name = cfg.visualizer.name = str(tmp_path / name)
        return cfg

    return make


def logged(work_dir, key):
    """The records of a training's log that have a key."""
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return [record for record in map(json.loads, file.read_text().splitlines()) if key in record]


@pytest.mark.parametrize('name', TOWERS)
def test_trains_and_is_tested(name, tiny_config, monkeypatch, caption_roots):
    cfg = tiny_config(name)
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    steps = logged(cfg.work_dir, 'loss')
    captions = {'flickr8k': 5, 'coco': 3}[name.split('_')[1]]
    dataset = runner.train_dataloader.dataset
    assert len(steps) == 2 * (len(dataset) // 8) and all(
        len(info['captions']) == 1 for info in map(dataset.get_data_info, range(len(dataset)))
    )
    images = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert {images.count(path) for path in images} == {captions}
    assert all({'loss_contrastive', 'batch_top1', 'batch_top5'} <= record.keys() for record in steps)
    validations = logged(cfg.work_dir, 'retrieval/t2i/mAP@10')
    assert len(validations) == 2
    assert ('retrieval_batch/i2t/R@5' in validations[0]) == ('flickr8k' in name)

    after = runner.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {'clip.logit_scale', 'clip.visual.head.proj.weight', 'clip.text.proj.weight'} <= changed
    trunks = ('clip.visual.trunk.', 'clip.text.transformer.')
    assert any(key.startswith(trunks) for key in changed) == ('finetuned' in name)

    (best,) = Path(cfg.work_dir).glob('best_retrieval*.pth')
    cfg.dump(f'{cfg.work_dir}/tested.py')
    metrics = run_tool(monkeypatch, 'test', f'{cfg.work_dir}/tested.py', best, '--work-dir', f'{cfg.work_dir}/test')
    assert metrics['chance/retrieval/t2i/R@1'] == pytest.approx(1 / 9)
    assert metrics['retrieval/i2t/R@10'] > 0
    pictures = {path.name for path in Path(cfg.work_dir, 'test', 'report').glob('*.png')}
    assert pictures >= {'retrieval_grid.png', *(['retrieval_search_grid.png'] if 'coco' in name else [])}


def run_tool(monkeypatch, tool, *arguments):
    """Run a tool in this process; the metrics of its report."""
    module = load_tool(tool)
    work_dir = arguments[arguments.index('--work-dir') + 1]
    options = ('--cfg-options', f'visualizer.name={work_dir}', f'experiment_name={work_dir}')
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, (*arguments, *options))])
    module.main()
    return json.loads(Path(work_dir, 'report', 'metrics.json').read_text())


def test_metrics_embed_texts_with_the_weights_at_hand(tiny_config):
    cfg = tiny_config('xception-bert_coco')
    del cfg.default_hooks.report  # its pictures take the time
    runner = Runner.from_cfg(cfg)
    first, model = runner.test(), unwrap(runner.model)
    dataset = runner.test_loop.dataloader.dataset
    with torch.no_grad():
        for parameter in model.clip.text.proj.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        second = runner.test()
        samples = [model.test_step(runner.test_loop.dataloader.collate_fn([dataset[i]]))[0] for i in range(9)]
        texts = model.encode_text([text for sample in samples for text in sample.captions])
    owner = torch.tensor([i for i, sample in enumerate(samples) for _ in sample.captions])
    expected = RetrievalMetric.calculate(torch.stack([sample.image_embedding for sample in samples]), texts, owner)
    assert {key: second[f'retrieval/{key}'] for key in expected} == pytest.approx(expected)
    assert first != second


def test_zero_shot_with_confusion_matrix(tiny_config, cifar_folder, tmp_path):
    tiny = tiny_config('xception-bert_coco')
    cfg = load_config(str(CONFIGS / 'xception-bert_coco_zero-shot.py'), work_dir=str(tmp_path / 'zero_shot'))
    cfg.model = tiny.model
    cfg.test_dataloader = cfg.test_dataloader[:1]
    cfg.test_dataloader[0].num_workers = 0
    cfg.test_dataloader[0].dataset.dataset = dict(type='ImageFolder', root=str(cifar_folder / 'test'))
    cfg.test_evaluator = cfg.test_evaluator[:1]
    cfg.experiment_name = cfg.visualizer.name = str(tmp_path)
    metrics = Runner.from_cfg(cfg).test()
    assert 0 < metrics['cifar10/all/top5'] < 1 and 'cifar10/all/f1' in metrics
    assert {'cifar10_confusion.png', 'cifar10_confusion.csv'} <= {
        path.name for path in (tmp_path / 'zero_shot' / 'report').iterdir()
    }


def test_a_metric_without_text_encoder_says_so(tiny_config):
    cfg = tiny_config('xception-bert_coco')
    cfg.default_hooks.pop('text_encoder')
    with pytest.raises(ValueError, match='text_encoder'):
        Runner.from_cfg(cfg).test()


def test_shapes(tiny_world, tmp_path):
    cfg = load_config(
        str(CONFIGS / 'resnet10t-transformer_shapes.py'), data_root=str(tiny_world), work_dir=str(tmp_path)
    )
    cfg.train_dataloader.update(batch_size=8, num_workers=0)
    cfg.train_dataloader.pop('persistent_workers')
    cfg.train_cfg.max_epochs, cfg.param_scheduler[1].end = 1, 2
    cfg.log_level = 'WARNING'
    cfg.experiment_name = cfg.visualizer.name = str(tmp_path)
    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.test()
    assert metrics['chance/zero_shot/all/top1'] == pytest.approx(1 / 480)
    assert {'zero_shot/novel/top5', 'retrieval/t2i/median_rank'} <= metrics.keys()
    assert not any(key.startswith(('ov/', 'teacher/')) for key in metrics)
