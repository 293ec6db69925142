"""MixtureSampler: exact shares, whole parts before any repetition, all processes together."""

from collections import Counter
from unittest import mock

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset

from kdeov_mm.datasets import MixtureSampler, SeededDataset

SIZES = (10, 40, 7)


class Numbers(BaseDataset):
    """So many data infos."""

    def load_data_list(self):
        return [dict(number=number) for number in range(self.ann_file)]

    def _join_prefix(self):
        pass


@pytest.fixture
def concat():
    return ConcatDataset([Numbers(size, serialize_data=False) for size in SIZES])


def draw(dataset, epoch=0, world_size=1, **options):
    """What each process draws in an epoch."""
    found = []
    for rank in range(world_size):
        with mock.patch('mmengine.dataset.sampler.get_dist_info', return_value=(rank, world_size)):
            sampler = MixtureSampler(dataset, **{**dict(weights=(1, 2, 1), seed=0), **options})
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


def parts(indices):
    return Counter(0 if index < 10 else 1 if index < 50 else 2 for index in indices)


@pytest.mark.parametrize(
    'epoch_size, weights, expected',
    [(40, (1, 2, 1), (10, 20, 10)), (None, (1, 1, 1), (19, 19, 19)), (100, (0.5, 0.25, 0.25), (50, 25, 25))],
)
def test_the_shares_are_those_of_the_weights(concat, epoch_size, weights, expected):
    for epoch in range(3):
        (indices,) = draw(concat, epoch, epoch_size=epoch_size, weights=weights)
        assert tuple(parts(indices)[part] for part in range(3)) == expected


def test_no_image_comes_again_before_all_of_its_part_have_come(concat):
    drawn = [index for epoch in range(14) for index in draw(concat, epoch, epoch_size=40)[0]]
    for first, size in zip((0, 10, 50), SIZES):
        times = Counter(index for index in drawn if first <= index < first + size)
        assert len(times) == size and max(times.values()) - min(times.values()) <= 1
    each = [Counter(draw(concat, epoch, epoch_size=40)[0]) for epoch in (0, 1)]
    assert sorted(index for index in each[0] + each[1] if 10 <= index < 50) == list(range(10, 50))


def test_processes_share_an_epoch(concat):
    together = draw(concat, epoch=2, epoch_size=41, world_size=2)
    (alone,) = draw(concat, epoch=2, epoch_size=41)
    assert [len(indices) for indices in together] == [21, 21]
    merged = [index for pair in zip(*together) for index in pair]
    assert merged == alone + alone[:1]


def test_the_order_is_a_function_of_seed_and_epoch(concat):
    assert draw(concat, 1) == draw(concat, 1)
    assert draw(concat, 1) != draw(concat, 2) and draw(concat, 1) != draw(concat, 1, seed=1)
    (indices,) = draw(concat, 0)
    assert indices != sorted(indices)


def test_a_wrapped_data_set_is_fine(concat):
    assert draw(SeededDataset(concat, seed=0)) == draw(concat)


@pytest.mark.parametrize(
    'options, named',
    [
        (dict(weights=(1, 2)), r'weights.*\b3\b'),
        (dict(weights=(1, 0, 1)), r'weights.*\b0\b'),
        (dict(weights=(1, -1, 1)), 'weights.*-1'),
        (dict(weights=(1, float('inf'), 1)), 'weights.*inf'),
        (dict(weights=(1000, 1, 1), epoch_size=50), r'epoch_size.*\b50\b'),
    ],
)
def test_refusals(concat, options, named):
    with pytest.raises(ValueError, match=named):
        draw(concat, **options)
    with pytest.raises(ValueError, match='ConcatDataset.*Numbers'):
        draw(concat.datasets[0])
