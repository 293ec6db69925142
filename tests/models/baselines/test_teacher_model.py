"""The full CLIP in our pipeline against OpenCLIP's own zero-shot classification, and against clip_benchmark's."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torchvision
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from mmyolo.registry import MODELS
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from kdeov_mm.models import OpenCLIPTextEncoder, TextBank
from kdeov_mm.text import template_set
from kdeov_mm.utils import load_config

CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / 'baselines'
TEMPLATE_SET = 'openai_imagenet_7'


def save_weights(name, path):
    """Random weights of a model, as a file."""
    torch.manual_seed(0)
    save_file(open_clip.create_model(name).state_dict(), path)
    return str(path)


@pytest.fixture(scope='module')
def some_images(cifar_folder, tmp_path_factory):
    """Oblong images of several sizes, in three classes."""
    root = tmp_path_factory.mktemp('oblong')
    for number, name in enumerate(('cat', 'dog', 'ship')):
        (root / name).mkdir()
        for i, path in enumerate(sorted((cifar_folder / 'test' / name).iterdir())[:5]):
            image = torchvision.io.decode_image(str(path))
            size = (60 + 31 * i, 90 + 17 * number)
            image = torchvision.transforms.functional.resize(image, size, antialias=True)
            torchvision.io.write_png(image, str(root / name / f'{i}.png'))
    return root


def run(config, root, name, weights, templates=TEMPLATE_SET):
    """Test a CLIP on a folder: the metrics, the metric, and the embeddings that it saw."""
    cfg = load_config(str(CONFIGS / config), work_dir=str(root.parent / 'work'))
    clip = dict(model_name=name, pretrained=weights)
    cfg.model.text_encoder.update(clip)
    cfg.model.embed_dims = open_clip.get_model_config(name)['embed_dim']
    loader, metric = cfg.test_dataloader[0], cfg.test_evaluator[0]
    loader.dataset = dict(
        type='TorchvisionDataset',
        dataset=dict(type='ImageFolder', root=str(root)),
        pipeline=[dict(type='OpenCLIPResize', **clip), loader.dataset.pipeline[-1]],
    )
    loader.update(num_workers=0, batch_size=4)
    metric.update(prefix='folder', templates=templates)
    cfg.test_dataloader, cfg.test_evaluator, cfg.log_level = [loader], [metric], 'WARNING'
    cfg.experiment_name = f'{name}-{root.parent.name}'
    runner = Runner.from_cfg(cfg)
    seen = []
    runner.model.register_forward_hook(
        lambda module, inputs, outputs: seen.extend(sample.image_embedding for sample in outputs)
    )
    metrics = runner.test()
    return metrics, runner.test_loop.evaluator.metrics[0], torch.stack(seen)


@torch.no_grad()
def reference(name, weights, root, classes):
    """OpenCLIP's own logits ``[N, K]`` and labels."""
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=weights)
    model.eval()
    data = torchvision.datasets.ImageFolder(str(root), transform=preprocess)
    images = torch.stack([image for image, _ in data])
    classifier = open_clip.build_zero_shot_classifier(
        model, open_clip.get_tokenizer(name), classes, template_set(TEMPLATE_SET)
    )
    return 100.0 * model.encode_image(images, normalize=True) @ classifier, torch.tensor(data.targets), model, data


@pytest.fixture(params=['kdeov-shapes', pytest.param('ViT-B-32', id='full-size', marks=pytest.mark.slow)])
def agreement(request, some_images, tmp_path, monkeypatch):
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'cache'))
    weights = save_weights(request.param, tmp_path / 'weights.safetensors')
    yield request.param, weights, run('openclip_vit-b-32.py', some_images, request.param, weights)
    Path(weights).unlink()  # pytest keeps the folder


def test_logits_are_open_clips(agreement, some_images, monkeypatch):
    name, weights, (metrics, metric, embeddings) = agreement
    classes = ['cat', 'dog', 'ship']
    logits, labels, model, data = reference(name, weights, some_images, classes)
    bank = TextBank.build(classes, OpenCLIPTextEncoder(name, weights), TEMPLATE_SET)
    ours = 100.0 * embeddings @ bank.embeddings.T
    assert ours.shape == (15, 3) and ours.std(0).min() > 1e-3, 'images differ'
    assert (ours - logits).abs().max() < 1e-5
    assert metric.predictions['student'].tolist() == logits.argmax(1).tolist()

    metric_of = pytest.importorskip('clip_benchmark.metrics.zeroshot_classification')
    # It makes a number of an array of one, which NumPy no longer allows.
    monkeypatch.setattr(metric_of, 'float', lambda value: float(np.asarray(value, float).item()), raising=False)
    data.classes = classes
    expected = metric_of.evaluate(
        model,
        DataLoader(data, batch_size=4),
        open_clip.get_tokenizer(name),
        classes,
        [template('{c}') for template in open_clip.SIMPLE_IMAGENET_TEMPLATES],
        'cpu',
        amp=False,
    )
    assert metrics['folder/all/top1'] == pytest.approx(expected['acc1'], abs=1e-9)
    assert metrics['folder/all/mean_per_class'] == pytest.approx(expected['mean_per_class_recall'], abs=1e-6)


def test_the_demos_teacher_is_tested_as_the_student_is(demo_config):
    metrics = Runner.from_cfg(demo_config(config=CONFIGS / 'openclip_kdeov-shapes.py')).test()
    assert metrics['zero_shot/all/top1'] < 1 and 0 < metrics['retrieval/t2i/R@10'] <= 1


def test_a_teacher_is_not_trained(tiny_teacher, mmyolo_scope):
    model = MODELS.build(
        dict(
            type='TeacherModel',
            teacher=dict(type='OpenCLIPTeacher', model_name='kdeov-shapes', pretrained=tiny_teacher),
        )
    )
    images = torch.rand(2, 3, 64, 64)
    assert model(images).shape == (2, 128) and model.brings_weights
    assert sum(p.requires_grad for p in model.parameters()) == 1
    with pytest.raises(ValueError, match='TeacherModel'):
        model(images, mode='loss')


@torch.no_grad()
def test_the_presence_of_a_name_does_not_depend_on_the_others(tiny_teacher, mmyolo_scope, tmp_path, monkeypatch):
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path))
    text_encoder = dict(type='OpenCLIPTextEncoder', model_name='kdeov-shapes', pretrained=tiny_teacher)
    lexicon = ['cat', 'blue heart', 'striped red star']
    model = MODELS.build(dict(type='TeacherModel', text_encoder=text_encoder, lexicon=lexicon, background=0.1))
    images, names = torch.rand(2, 3, 64, 64), ['red star', 'dog']
    embed = lambda names: TextBank.build(names, model.text_encoder)  # noqa: E731
    scale, features = model.teacher.logit_scale, model.encode_image(images)
    for asked in (names, names[:1]):
        model.set_vocabulary(embed(asked))
        samples = model(images, [DetDataSample(), DetDataSample()], mode='predict')
        for sample, image in zip(samples, features):
            for name, found in zip(asked, sample.presence):
                kinds = [entry for entry in lexicon if name == 'red star' and entry == 'striped red star']
                rivals = [entry for entry in lexicon if entry not in kinds]
                own = (scale * embed([name, *kinds]).embeddings @ image).exp().mean()
                rest = (scale * embed(rivals).embeddings @ image).exp().sum() + (scale * torch.tensor(0.1)).exp()
                assert found == pytest.approx((own / (own + rest)).item(), abs=1e-5)
    model.set_vocabulary(embed(names), closed=True)
    assert 'presence' not in model(images, [DetDataSample(), DetDataSample()], mode='predict')[0]


def test_full_clip_retrieves(coco_mini, tiny_teacher, tmp_path):
    cfg = load_config(str(CONFIGS / 'openclip_vit-b-32_coco.py'), work_dir=str(tmp_path / 'work'))
    clip = dict(model_name='kdeov-shapes', pretrained=tiny_teacher)
    cfg.model.text_encoder.update(clip)
    cfg.model.embed_dims = 128
    loader, metrics = cfg.test_dataloader[0], cfg.test_evaluator[0]
    loader.update(num_workers=0, batch_size=16)
    loader.dataset.pipeline[1].update(clip)
    loader.dataset.update(
        format='coco',
        split=None,
        data_root=str(coco_mini),
        data_prefix=dict(img='val2017/'),
        ann_file='annotations/captions_val2017.json',
    )
    cfg.test_evaluator, cfg.log_level, cfg.experiment_name = [metrics[:1]], 'WARNING', tmp_path.name
    values = Runner.from_cfg(cfg).test()
    assert 0 <= values['retrieval/i2t/R@1'] <= values['retrieval/i2t/R@10'] <= 1
