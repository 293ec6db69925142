"""What docs/training.md offers: its config lines build, run, and do what they say."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from kdeov_mm.models import Projector
from kdeov_mm.utils import InputError, enable_amp, set_launcher

ROOT = Path(__file__).resolve().parents[2]
PRETRAIN = ROOT / 'configs' / 'kdeov_yolov8n_pretrain.py'

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture(scope='module')
def snippets():
    """The document's config lines, by the title above them."""
    parts = re.split(r'^## ', (ROOT / 'docs/training.md').read_text(), flags=re.MULTILINE)
    found = {}
    for part in parts:
        title = part.splitlines()[0]
        for block in re.findall(r'```python\n(.*?)```', part, re.DOTALL):
            found[title] = found.get(title, '') + block
    return found


@pytest.fixture
def make_config(demo_config, snippets, tmp_path):
    """Stage 1 of the tiny demo with the lines under some titles of the document."""

    def make(*titles, config=PRETRAIN, epochs=2, **options):
        cfg = demo_config(config=config, epochs=epochs)
        for title in titles:
            (tmp_path / 'snippet.py').write_text(snippets[title])
            given = Config.fromfile(str(tmp_path / 'snippet.py'))
            cfg.custom_hooks += given._cfg_dict.pop('custom_hooks', [])
            cfg.merge_from_dict(given._cfg_dict.to_dict())
        cfg.merge_from_dict(options)
        return cfg

    return make


def train(cfg, resume=None):
    if resume is not None:
        cfg.load_from, cfg.resume = str(resume), True
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def weights(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def differing(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


# ------------------------------------------------------------------------------------ mixed precision
@pytest.fixture
def losses(monkeypatch):
    """The total loss of each step, and the type of what the projector got and gave."""
    seen, dtypes = [], set()
    forward = Projector.forward

    def watched(self, feats):
        embeddings = forward(self, feats)
        if self.training:
            dtypes.add((feats[0].dtype, embeddings.dtype))
        return embeddings

    monkeypatch.setattr(Projector, 'forward', watched)
    from mmengine.model import BaseModel

    parse = BaseModel.parse_losses

    def parsed(self, given):
        total, parts = parse(self, given)
        seen.append(total.item())
        return total, parts

    monkeypatch.setattr(BaseModel, 'parse_losses', parsed)
    return seen, dtypes


@pytest.mark.parametrize(
    'config',
    [pytest.param(ROOT / 'configs' / 'kdeov_yolov8n.py', id='three tasks'), pytest.param(PRETRAIN, id='stage 1')],
)
def test_bfloat16_on_the_cpu_is_close_to_float32(make_config, losses, config):
    seen, dtypes = losses
    cfg = make_config(config=config)
    cfg.train_cfg.max_epochs, cfg.param_scheduler = 1, None
    del cfg.default_hooks.loss_guard  # it asks for the losses a second time
    train(cfg)
    full, seen[:] = list(seen), []
    assert dtypes == {(torch.float32, torch.float32)} and len(full) == 4
    dtypes.clear()
    enable_amp(cfg, 'bf16')
    cfg.work_dir += '_bf16'
    cfg.experiment_name += '_bf16'
    runner = train(cfg)
    assert dtypes == {(torch.bfloat16, torch.float32)}  # embeddings stay float32
    assert seen[0] != full[0] and seen[0] == pytest.approx(full[0], rel=0.01)
    assert seen == pytest.approx(full, rel=0.15)  # later steps are of weights that have drifted apart
    assert {value.dtype for value in runner.model.parameters()} == {torch.float32}
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())


@pytest.mark.parametrize(
    'gpu, dtype, wrapper',
    [
        (False, 'auto', dict(type='BFloat16OptimWrapper')),
        (True, 'bf16', dict(type='BFloat16OptimWrapper')),
        (True, 'auto', dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')),
    ],
)
def test_the_type_follows_the_device(monkeypatch, gpu, dtype, wrapper):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    for before in (dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', dtype='float16', loss_scale=512.0)):
        cfg = Config(dict(optim_wrapper=dict(before, optimizer=dict(lr=1))))
        enable_amp(cfg, dtype)
        assert cfg.optim_wrapper.to_dict() == dict(wrapper, optimizer=dict(lr=1))


@pytest.mark.parametrize(
    'dtype, wrapper, named', [('fp16', 'OptimWrapper', '--amp fp16.*bf16'), ('bf16', 'Lion', 'Lion')]
)
def test_refusals(monkeypatch, dtype, wrapper, named):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match=named):
        enable_amp(Config(dict(optim_wrapper=dict(type=wrapper))), dtype)


# ------------------------------------------------------------------------------------ several processes
@pytest.mark.parametrize(
    'launcher, gpus, variables, named',
    [
        ('pytorch', 1, dict(RANK='1', LOCAL_RANK='1'), r'\b2\b.*GPU.*\b1\b'),
        ('slurm', 0, {}, '--launcher slurm.*GPU'),
        ('pytorch', 0, {}, 'torchrun'),
    ],
)
def test_launchers_that_cannot_start(monkeypatch, launcher, gpus, variables, named):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    for name in ('RANK', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=named):
        set_launcher(Config({}), launcher)


def test_no_launcher_changes_nothing():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    set_launcher(cfg, 'none')
    assert cfg.to_dict() == dict(env_cfg=dict(dist_cfg=dict(backend='nccl')), launcher='none')


# ------------------------------------------------------------------------------------ MMEngine's own parts
def test_gradient_accumulation(make_config):
    """Batches of 4, each step the mean of 2: the optimizer steps half as often."""
    cfg = make_config('Gradient accumulation', **{'train_dataloader.batch_size': 4})
    cfg.train_cfg.max_epochs, cfg.param_scheduler = 1, None
    cfg.optim_wrapper.accumulative_counts = 2
    runner = train(cfg)
    steps = {int(state['step']) for state in runner.optim_wrapper.optimizer.state.values()}
    assert runner.iter == 8 and steps == {4}


def test_layer_wise_learning_rates(make_config):
    runner = Runner.from_cfg(make_config('Learning rates of layers'))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    rate = {
        name: group['lr']
        for group in runner.optim_wrapper.param_groups
        for parameter in group['params']
        for name, other in runner.model.named_parameters()
        if other is parameter
    }
    assert len(rate) == len(list(runner.model.parameters()))
    base = rate['projector.layers.0.weight']
    assert {value for name, value in rate.items() if name.startswith('backbone.')} == {0.1 * base}
    assert {value for name, value in rate.items() if not name.startswith('backbone.')} == {base}


@pytest.mark.slow
def test_moving_average_and_its_resume(make_config):
    """The average is what is validated and loaded; training itself goes on from the plain weights."""
    first = train(make_config('Moving average of the weights'))
    (average,) = [hook for hook in first.hooks if isinstance(hook, EMAHook)]
    saved = torch.load(Path(first.work_dir, 'epoch_2.pth'), weights_only=True)
    assert differing(saved['state_dict'], average.ema_model.module.state_dict()) == []
    assert differing(saved['state_dict'], first.model.state_dict())
    second = train(make_config('Moving average of the weights'), Path(first.work_dir, 'epoch_1.pth'))
    again = torch.load(Path(second.work_dir, 'epoch_2.pth'), weights_only=True)
    assert differing(again['state_dict'], saved['state_dict']) == []
    assert differing(weights(second), weights(first)) == []


@pytest.fixture
def scores(monkeypatch):
    """Makes validation score what is asked for, one value an epoch."""
    from mmengine.evaluator import Evaluator

    def set_scores(values):
        left = iter(values)
        monkeypatch.setattr(Evaluator, 'evaluate', lambda self, size: {'zero_shot/all/top1': next(left)})

    return set_scores


@pytest.mark.slow
def test_the_learning_rate_falls_on_a_plateau(make_config, scores):
    title = 'Learning rate by a metric'
    cfg = make_config(title, epochs=5)
    patience = next(each.patience for each in cfg.param_scheduler if each.type == 'ReduceOnPlateauLR')
    scores([0.5] * (patience + 3))  # the best, those it waits, and the one after; the very last changes nothing
    cfg.train_cfg.max_epochs = patience + 3
    runner = train(cfg)
    rates = [group['lr'] for group in runner.optim_wrapper.param_groups]
    assert rates == pytest.approx([2e-3 * 0.5] * len(rates))


@pytest.mark.slow
def test_a_plateau_is_resumed_also_after_a_validation_that_was_cut_short(make_config, scores, monkeypatch):
    """The lost validation is made up for: without it the learning rate, and the weights, would be others."""

    def config(**options):
        cfg = make_config('Learning rate by a metric', epochs=3)
        cfg.train_cfg.type = 'ResumableTrainLoop'
        cfg.param_scheduler[1].patience = 0
        cfg.merge_from_dict(options)
        return cfg

    scores([0.5, 0.4, 0.3])
    whole = train(config())
    cut = config()
    scores([0.5])  # the second validation finds none and dies
    with pytest.raises((StopIteration, RuntimeError)):
        train(cut)
    assert sorted(path.name for path in Path(cut.work_dir).glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    scores([0.4, 0.3])
    resumed = train(config(), Path(cut.work_dir, 'epoch_2.pth'))
    assert differing(weights(resumed), weights(whole)) == []
    rates = [[group['lr'] for group in runner.optim_wrapper.param_groups] for runner in (resumed, whole)]
    assert rates[0] == rates[1] == pytest.approx([2e-3 * 0.5] * len(rates[0]))


@pytest.mark.slow
def test_early_stopping_and_its_resume(make_config, scores):
    def config():
        cfg = make_config('Early stopping', epochs=6)
        cfg.train_cfg.type = 'ResumableTrainLoop'
        cfg.custom_hooks[-1].patience = 2
        return cfg

    scores([0.5, 0.6, 0.6, 0.5, 0.9])
    whole = train(config())
    assert whole.epoch == 4  # two epochs without a better score
    (best,) = Path(whole.work_dir).glob('best_*.pth')
    assert best.name == 'best_zero_shot_all_top1_epoch_2.pth'
    cut = config()
    scores([0.5, 0.6, 0.6])
    with pytest.raises((StopIteration, RuntimeError)):
        train(cut)
    scores([0.5, 0.9])
    resumed = train(config(), Path(cut.work_dir, 'epoch_4.pth'))
    assert resumed.epoch == 4 and differing(weights(resumed), weights(whole)) == []
