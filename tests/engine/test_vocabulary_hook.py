"""Which names the model is given, and when."""

from types import SimpleNamespace

import pytest
import torch
from mmyolo.registry import DATASETS, HOOKS, MODELS

from kdeov_mm.datasets import world_concepts
from kdeov_mm.engine.hooks import vocabulary_hook
from kdeov_mm.models import TextBank

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture
def hook(demo_config):
    return HOOKS.build(demo_config().custom_hooks[0])


@pytest.fixture
def runner(demo_config):
    """The data sets and the model of the tiny demo."""
    cfg = demo_config()
    train, test = (
        SimpleNamespace(dataset=DATASETS.build(dataset))
        for dataset in (cfg.train_dataloader.dataset, cfg.test_dataloader[0].dataset)
    )
    return SimpleNamespace(
        model=MODELS.build(cfg.model),
        train_dataloader=train,
        val_dataloader=test,
        test_loop=SimpleNamespace(dataloader=test),
    )


def names_of(*groups):
    return [concept['name'] for concept in world_concepts(0) if not groups or concept['group'] in groups]


def test_training_names_are_base_and_test_names_are_all(hook, runner):
    hook.before_train(runner)
    assert runner.model.vocabulary == names_of('base')
    hook.before_test_epoch(runner)
    assert runner.model.vocabulary == names_of() and len(names_of()) == 480
    hook.before_train_epoch(runner)
    assert runner.model.vocabulary == names_of('base')
    hook.before_val_epoch(runner)
    assert runner.model.vocabulary == names_of()


def test_the_model_holds_the_names_embeddings(hook, runner, demo_config):
    hook.before_train(runner)
    expected = TextBank.build(names_of('base'), demo_config().model.text_encoder, 'single')
    assert torch.equal(runner.model.texts, expected.embeddings)


def test_each_vocabulary_is_embedded_once(hook, runner, monkeypatch):
    built = []

    class Counted(TextBank):
        @classmethod
        def build(cls, names, *args):
            built.append(len(names))
            return TextBank.build(names, *args)

    monkeypatch.setattr(vocabulary_hook, 'ClassEmbeddings', Counted)
    hook.before_train(runner)
    for _ in range(2):
        hook.before_train_epoch(runner)
        hook.before_val_epoch(runner)
        hook.before_test_epoch(runner)
    assert built == [len(names_of('base')), 480]


def test_a_wrapped_model_is_reached(hook, runner):
    student = runner.model
    runner.model = torch.nn.DataParallel(student)
    hook.before_train(runner)
    assert student.vocabulary == names_of('base')


def test_a_vocabulary_takes_the_place_of_the_class_names_in_testing(demo_config, runner, tmp_path):
    cfg = demo_config().custom_hooks[0]
    (tmp_path / 'names.txt').write_text('a dog\na cat\n')
    runner.test_loop.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    for vocabulary in (['a dog', 'a cat'], str(tmp_path / 'names.txt')):
        hook = HOOKS.build(dict(cfg, vocabulary=vocabulary))
        hook.before_train(runner)
        assert runner.model.vocabulary == names_of('base')
        hook.before_test_epoch(runner)
        assert runner.model.vocabulary == ['a dog', 'a cat']
        with pytest.raises(ValueError, match=r'\b2\b.*\b480\b'):
            hook.before_val_epoch(runner)


def test_templates_and_synonyms_reach_the_embeddings(demo_config, hook, runner):
    cfg = demo_config().model
    text_encoder, first = cfg.text_encoder, names_of('base')[0]
    cfg.text_encoder = dict(text_encoder, templates=['the {}'], synonyms={first: ['a thing']})
    runner.model = MODELS.build(cfg)
    hook.before_train(runner)
    expected = TextBank.build(names_of('base'), text_encoder, ['the {}'], {first: ['a thing']})
    assert torch.equal(runner.model.texts, expected.embeddings)
    plain = TextBank.build(names_of('base'), text_encoder, ['the {}'])
    assert (expected.embeddings != plain.embeddings).any(-1).nonzero().flatten().tolist() == [0]
