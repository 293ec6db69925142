"""A bad batch stops training before it reaches the weights."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

import kdeov_mm  # noqa: F401
from kdeov_mm.engine.hooks import LossGuardHook

GOOD, NAN, NAN_GRADIENT = 'good', 'nan', 'nan gradient'


class Student(BaseModel):
    """A layer and running statistics."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)

    def forward(self, inputs, data_samples, mode='tensor'):
        outputs = self.norm(self.layer(torch.stack(inputs)))
        flat = sum((outputs * 0).abs().sqrt().sum() for sample in data_samples if sample.kind == NAN_GRADIENT)
        return dict(
            loss_main=F.softplus(outputs).sum(),
            loss_flat=flat + outputs.sum() * 0,
            seen=outputs.detach().mean(),
        )


def make_batches(*kinds):
    """One batch of two images for each kind; the second image is the one at fault. A good one is always the same."""
    generator = torch.Generator().manual_seed(0)
    good = iter(torch.randn(20, 4, generator=generator))
    data = []
    for number, kind in enumerate(kinds):
        for item in (GOOD, kind):
            image = (
                torch.full((4,), float('nan'))
                if kind == NAN and item == NAN
                else torch.ones(4)
                if kind != GOOD and item == kind
                else next(good)
            )
            data.append(
                dict(
                    inputs=image,
                    data_samples=BaseDataElement(metainfo=dict(img_path=f'{number} {item}.jpg', kind=item)),
                )
            )
    return data


def collate(items):
    return dict(inputs=[item['inputs'] for item in items], data_samples=[item['data_samples'] for item in items])


def train(work_dir, data, hook=None, launcher='none'):
    sampler = DistributedSampler(data, shuffle=False) if launcher != 'none' else None
    runner = Runner(
        Student(),
        str(work_dir),
        DataLoader(data, 2, collate_fn=collate, sampler=sampler),
        launcher=launcher,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[hook] if hook else None,
        log_level='ERROR',
        default_hooks=dict(checkpoint=None),
        experiment_name=str(work_dir),  # runners share what has one name
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),  # a CPU has no number
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1), clip_grad=dict(max_norm=10.0)),
    )
    runner.train()
    return runner


def state(runner):
    """Everything that a step may change."""
    return dict(model=dict(runner.model.state_dict()), optimizer=runner.optim_wrapper.optimizer.state_dict()['state'])


def test_without_the_guard_such_a_batch_ruins_the_weights(tmp_path):
    """Else the test above would prove nothing."""
    weights = train(tmp_path, make_batches(GOOD, NAN_GRADIENT)).model.state_dict()
    assert not weights['layer.weight'].isfinite().any()


def test_the_guard_changes_nothing_else(tmp_path):
    found, expected = (
        state(train(tmp_path / str(i), make_batches(*[GOOD] * 4), hook))
        for i, hook in enumerate([LossGuardHook(), None])
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not Path(tmp_path, '0/bad_batches.jsonl').exists()


@pytest.mark.parametrize(
    'kind, reason', [(NAN, 'loss is nan (loss_main, loss_flat)'), (NAN_GRADIENT, 'gradient is not finite')]
)
def test_stopping_comes_before_the_step(tmp_path, kind, reason):
    hook = LossGuardHook()
    with pytest.raises(FloatingPointError, match=re.escape(reason)):
        train(tmp_path, make_batches(GOOD, kind, GOOD), hook)
    assert all(value.isfinite().all() for value in hook.runner.model.parameters())
    assert {int(value['step']) for value in hook.runner.optim_wrapper.optimizer.state_dict()['state'].values()} == {1}
    (record,) = map(json.loads, Path(tmp_path, 'bad_batches.jsonl').read_text().splitlines())
    assert record == dict(epoch=1, iter=2, reason=reason, files=['1 good.jpg', f'1 {kind}.jpg'])


def work(rank, path):
    os.environ['LOCAL_RANK'] = '0'  # both processes have one device, the CPU
    dist.init_process_group('gloo', init_method=f'file://{path}/rendezvous', rank=rank, world_size=2)
    try:
        # images 0, 2, 4, ... go to rank 0 and the faulty ones to rank 1, which is alone in seeing a bad loss
        batches, hook = make_batches(GOOD, GOOD, NAN, GOOD, GOOD, GOOD), LossGuardHook()
        with pytest.raises(FloatingPointError):
            train(Path(path, 'run'), batches, hook, launcher='pytorch')
        torch.save(state(hook.runner), f'{path}/{rank}.pth')
    finally:
        dist.destroy_process_group()


def test_all_ranks_stop_together(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')  # put back after the test
    # The other process is rank 0, this one is rank 1.
    other = mp.start_processes(work, (str(tmp_path),), join=False, start_method='forkserver')
    work(1, str(tmp_path))
    while not other.join():
        pass
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert {int(value['step']) for value in first['optimizer'].values()} == {1}
    weights = [value for name, value in second['model'].items() if name.endswith(('weight', 'bias'))]
    assert len(weights) == 4 and all(value.isfinite().all() for value in weights)
    torch.testing.assert_close(first['optimizer'], second['optimizer'], rtol=0, atol=0)
    (record,) = map(json.loads, Path(tmp_path, 'run/bad_batches.jsonl').read_text().splitlines())
    assert '2 nan.jpg' in record['files'] and record['iter'] == 2
