"""A different CLIP is its name, its weights and its dimension in the model's config, and nothing else."""

import json

import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from safetensors.torch import save_file

from kdeov_mm.engine.hooks import CLIPDistillationHook
from kdeov_mm.evaluation.base import EmbeddingMetric
from kdeov_mm.utils import load_config

NAME, DIMS = 'tiny-other-clip', 24


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    """``--cfg-options`` of another architecture with random weights."""
    folder = tmp_path_factory.mktemp('clip')
    vision = dict(image_size=32, patch_size=16, width=32, head_width=16, layers=1)
    text = dict(context_length=16, vocab_size=49408, width=16, heads=2, layers=1)
    (folder / f'{NAME}.json').write_text(json.dumps(dict(embed_dim=DIMS, vision_cfg=vision, text_cfg=text)))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    save_file(open_clip.create_model(NAME).state_dict(), folder / 'weights.safetensors')
    return {
        'model.text_encoder.model_name': NAME,
        'model.text_encoder.pretrained': str(folder / 'weights.safetensors'),
        'model.embed_dims': DIMS,
    }


@pytest.fixture
def demo_file(demo_config, tmp_path):
    """The tiny demo's config as a file."""
    demo_config(epochs=1).dump(str(tmp_path / 'config.py'))
    return str(tmp_path / 'config.py')


def test_options_change_it_for_teacher_vocabulary_and_metrics(options, demo_file):
    runner = Runner.from_cfg(load_config(demo_file, options))
    runner.train()
    clip = open_clip.create_model(NAME, pretrained=options['model.text_encoder.pretrained']).eval()
    model, images = runner.model, torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        texts = [f'a photo of a {name}.' for name in model.vocabulary[:3]]
        embeddings = clip.encode_text(open_clip.get_tokenizer(NAME)(texts), normalize=True)
        torch.testing.assert_close(model.texts[:3], embeddings, atol=1e-5, rtol=0)
        (hook,) = [hook for hook in runner.hooks if isinstance(hook, CLIPDistillationHook)]
        mean, std = (torch.tensor(v)[:, None, None] for v in (clip.visual.image_mean, clip.visual.image_std))
        expected = F.normalize(clip.encode_image((images - mean) / std), dim=-1)
        torch.testing.assert_close(hook.teacher.encode_image(images), expected, atol=1e-4, rtol=0)
    assert hook.background.embeddings.shape[1] == DIMS
    dataset = runner.train_dataloader.dataset
    captions = [text for i in range(len(dataset)) for text in dataset.get_data_info(i)['captions']]
    assert {len(feature) for feature in hook.embed_captions(captions)} == {DIMS}

    values = runner.test()
    metrics = [m for _, e in runner.test_loop.parts for m in e.metrics if isinstance(m, EmbeddingMetric)]
    assert len(metrics) == 2 and {metric.text_encoder.id for metric in metrics} == {model.text_encoder.id}
    assert 'teacher/zero_shot/all/top1' in values and 'retrieval/t2i/R@1' in values


def test_a_wrong_dimension_is_named(options, demo_file):
    cfg = load_config(demo_file, {**options, 'model.embed_dims': 32})
    with pytest.raises(ValueError, match=rf'vocabulary: .*\b{DIMS}\b.*model\.embed_dims'):
        Runner.from_cfg(cfg).train()
    cfg.custom_hooks, cfg.experiment_name = cfg.custom_hooks[1:], cfg.experiment_name + '_teacher'
    with pytest.raises(ValueError, match=rf'model\.embed_dims=32\b.*model\.embed_dims={DIMS}'):
        Runner.from_cfg(cfg).train()
