import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

import kdeov_mm.engine  # noqa: F401


class Numbers(Dataset):
    def __init__(self, start, stop):
        self.numbers = range(start, stop)
        self.metainfo = dict(classes=[f'{start} to {stop}'])

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(self.numbers[index])]))


class Identity(BaseModel):
    def forward(self, inputs, mode='tensor'):
        return [dict(number=number.item()) for number in inputs]


class Total(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [sample['number'] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(total=sum(results), classes=self.dataset_meta['classes'][0])


class Calls(Hook):
    def __init__(self):
        self.calls = []

    def before_test_epoch(self, runner):
        loop = runner.test_loop
        metainfo = loop.dataloader.dataset.metainfo
        assert runner.visualizer.dataset_meta == metainfo == loop.evaluator.dataset_meta
        self.calls.append(('before', len(loop.dataloader)))

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(('iter', batch_idx))

    def after_test_epoch(self, runner, metrics=None):
        self.calls.append(('after', dict(metrics)))


def loader(start, stop, batch_size=2):
    return dict(
        dataset=Numbers(start, stop),
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )


def run(tmp_path, dataloader, evaluator, loop='MultiTestLoop'):
    calls = Calls()
    runner = Runner(
        Identity(),
        str(tmp_path),
        test_dataloader=dataloader,
        test_evaluator=evaluator,
        test_cfg=dict(type=loop),
        custom_hooks=[calls],
        default_scope='mmyolo',
        experiment_name=f'loops_{id(calls)}',
        log_level='ERROR',
    )
    return runner.test(), calls.calls


def test_parts_run_one_after_another_and_metrics_merge(tmp_path):
    metrics, calls = run(
        tmp_path, [loader(0, 3), loader(10, 15)], [Total(prefix='a'), [Total(prefix='b'), Total(prefix='c')]]
    )
    first = {'a/total': 3, 'a/classes': '0 to 3'}
    second = {'b/total': 60, 'b/classes': '10 to 15', 'c/total': 60, 'c/classes': '10 to 15'}
    assert metrics == {**first, **second}
    assert calls == [
        ('before', 2),
        ('iter', 0),
        ('iter', 1),
        ('after', first),
        ('before', 3),
        ('iter', 0),
        ('iter', 1),
        ('iter', 2),
        ('after', second),
    ]


@pytest.mark.parametrize('evaluator', [lambda: Total(prefix='a'), lambda: [Total(prefix='a'), Total(prefix='b')]])
def test_one_part_is_a_test_loop(tmp_path, evaluator):
    single = run(tmp_path / '1', loader(0, 3), evaluator())
    assert single == run(tmp_path / '2', loader(0, 3), evaluator(), 'TestLoop')
    assert single[0]['a/total'] == 3


def test_lists_must_match_and_keys_differ(tmp_path):
    with pytest.raises(ValueError, match=r'test_dataloader .*\b2\b.*test_evaluator .*\b1\b'):
        run(tmp_path, [loader(0, 3), loader(0, 3)], [Total(prefix='a')])
    with pytest.raises(ValueError, match=r'test_dataloader .*\b0\b'):
        run(tmp_path, [], [])
    with pytest.raises(ValueError, match=r"test_evaluator\[1\].*'a/classes', 'a/total'"):
        run(tmp_path, [loader(0, 3), loader(0, 3)], [Total(prefix='a'), Total(prefix='a')])
