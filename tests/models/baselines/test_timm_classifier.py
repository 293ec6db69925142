from pathlib import Path

import pytest
import timm
import torch
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from mmyolo.registry import MODELS

from kdeov_mm.utils import load_config

CONFIG = Path(__file__).resolve().parents[3] / 'configs' / 'baselines' / 'timm_resnet18_cifar10.py'


def build(**kwargs):
    return MODELS.build(dict(type='TimmClassifier', **{**dict(model_name='test_resnet', num_classes=10), **kwargs}))


@pytest.fixture
def config(tmp_path):
    """Makes the config of a tiny classifier that is trained and tested on an image folder's training split."""

    def make(root, epochs):
        cfg = load_config(str(CONFIG), work_dir=str(tmp_path / 'work'))
        cfg.model.update(model_name='test_resnet', pretrained=False)
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.dataset.dataset = dict(type='ImageFolder', root=str(root / 'train'))
            loader.update(num_workers=0, batch_size=24)
            for transform in loader.dataset.pipeline:
                if 'scale' in transform:
                    transform.scale = (32, 32)
                if 'crop_size' in transform:
                    transform.crop_size = (28, 28)
        cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
        cfg.optim_wrapper.optimizer.lr = 5e-3
        cfg.param_scheduler[1].end = epochs
        cfg.log_level, cfg.experiment_name = 'WARNING', tmp_path.name
        return cfg

    return make


def test_it_learns_real_images(config, cifar_folder):
    runner = Runner.from_cfg(config(cifar_folder, epochs=12))
    runner.train()
    metrics = runner.test()
    assert metrics['cifar10/all/top1'] > 2 * metrics['chance/cifar10/all/top1']
    assert metrics['cifar10/all/top1'] <= metrics['cifar10/all/top3'] <= metrics['cifar10/all/top5']
    assert {'cifar10/all/mean_per_class', 'cifar10/all/f1'} <= set(metrics)


def test_scores_are_timms(mmyolo_scope):
    torch.manual_seed(0)
    model, images = build().eval(), torch.rand(2, 3, 32, 32)
    samples = model(images, [DetDataSample(), DetDataSample()], mode='predict')
    expected = model.backbone(images).softmax(1)
    assert torch.equal(torch.stack([sample.pred_score for sample in samples]), expected)


def test_starts_from_a_local_file(mmyolo_scope, tmp_path):
    torch.manual_seed(1)
    source = timm.create_model('test_resnet', num_classes=1000)
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    model = build(pretrained=str(tmp_path / 'weights.pth'))
    assert torch.equal(model.backbone.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 10)


def test_bad_input(mmyolo_scope):
    with pytest.raises(ValueError, match="'resnet999'"):
        build(model_name='resnet999')
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        build(pretrained='gone.pth')
    sample = DetDataSample(metainfo=dict(gt_label=10, img_path='a.jpg'))
    with pytest.raises(ValueError, match=r'a\.jpg.*gt_label.*\b10\b.*\[0, 10\)'):
        build().eval()(torch.rand(1, 3, 32, 32), [sample], mode='loss')
