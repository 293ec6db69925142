"""Every snippet of docs/data.md builds what it says."""

import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmyolo.registry import DATASETS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def data(coco_mini, layouts, write_shards, tmp_path, monkeypatch):
    """The folders that the document names, with real images."""
    monkeypatch.chdir(tmp_path)
    images = coco_mini / 'train2017'
    links = {
        'coco': coco_mini,
        'flickr30k/flickr30k-images': images,
        'flickr8k/Images': images,
        'cifar10/train': images,
    }
    for name, target in links.items():
        (tmp_path / 'data' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'data' / name).symlink_to(target)
    shutil.copy(layouts / 'dataset_flickr30k.json', 'data/flickr30k')
    for name in ('captions.txt', 'Flickr_8k.trainImages.txt'):
        shutil.copy(layouts / name, 'data/flickr8k')
    shutil.copytree(images, 'data/cc3m')
    shutil.copy(layouts / 'cc3m.tsv', 'data/cc3m/train.tsv')
    write_shards(tmp_path / 'data' / 'laion', [50, 10, 20])


@pytest.mark.usefixtures('mmyolo_scope', 'data')
def test_the_snippets_build(pairs):
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/data.md').read_text(), re.DOTALL)
    names, built = {}, []
    for block in blocks:
        names.pop('train_dataloader', None)
        exec(block, names)
        if 'train_dataloader' in names:
            cfg = Config(dict(dataloader=names['train_dataloader'])).dataloader
            cfg.num_workers = 0
            batch = next(iter(Runner.build_dataloader(cfg, seed=0)))
            assert len(batch['inputs']) == cfg.batch_size and batch['inputs'][0].shape == (3, 224, 224)
            built.append(cfg.dataset.type)
    sizes = {}
    for name in ('coco', 'flickr30k', 'flickr8k', 'cc3m', 'folder'):
        dataset = DATASETS.build(Config(names[name])._cfg_dict.to_dict())
        sizes[name] = len(dataset)
        captions = dataset[3]['data_samples'].captions
        assert (captions == []) == (name == 'folder') and dataset[3]['inputs'].shape == (3, 224, 224)
    assert sizes == dict(coco=80, flickr30k=20, flickr8k=30, cc3m=80, folder=80) and len(pairs) == 80
    assert built == ['ImageTextShards', 'ConcatDataset'] and names['train_cfg']['type'] == 'ResumableTrainLoop'
