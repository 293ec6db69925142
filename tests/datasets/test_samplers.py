"""HardNegativeSampler: a permutation of the data set, with alike names as neighbours."""

import numpy as np
import pytest

from kdeov_mm.datasets import HardNegativeSampler

CLASSES = [
    f'{texture} {colour} {shape}'
    for texture in ('solid', 'striped')
    for colour in ('red', 'blue')
    for shape in ('star', 'ring', 'moon')
]


class World:
    """A data set of one-object images, every tenth of them empty."""

    metainfo = dict(classes=CLASSES)

    def __init__(self, number):
        labels = np.random.default_rng(0).integers(0, len(CLASSES), number)
        self.infos = [
            dict(instances=[] if i % 10 == 9 else [dict(bbox_label=int(label))]) for i, label in enumerate(labels)
        ]

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]

    def key(self, index, words):
        instances = self.infos[index]['instances']
        return tuple(CLASSES[instances[0]['bbox_label']].split()[word] for word in words) if instances else ()


@pytest.mark.parametrize('words, kinds', [((1,), 2), ((0, 1), 4), ((1, 2), 6)])
def test_each_block_is_sorted_by_the_shared_words(words, kinds):
    world = World(400)
    order = list(HardNegativeSampler(world, words=words, block_size=100, seed=0))
    assert sorted(order) == list(range(400))
    for start in range(0, 400, 100):
        keys = [world.key(index, words) for index in order[start : start + 100]]
        changes = sum(a != b for a, b in zip(keys, keys[1:]))
        assert changes == len(set(keys)) - 1 == kinds  # the empty images are one more kind


def test_the_order_is_a_function_of_seed_and_epoch():
    def draw(seed, epoch):
        sampler = HardNegativeSampler(World(200), block_size=50, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) != draw(0, 2) and draw(0, 1) != draw(1, 1)
