"""A sampler of hard negatives."""

from collections.abc import Iterator, Sequence

import torch
from mmengine.dataset import DefaultSampler
from mmyolo.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class HardNegativeSampler(DefaultSampler):
    """Shuffles images and sorts each block by words of their class names, so batches have hard negatives.

    A contrastive loss learns only what distinguishes the pairs of a batch. Among random images of many colours and
    textures, this is rarely the shape. Hard negatives help (NegCLIP, Yuksekgonul et al. 2023).

    Args:
        dataset: Data set with ``metainfo['classes']`` and ``instances`` in its data infos.
        words: Positions of the words that neighbours share in the class name of their first object. In "striped blue
            star", (0, 1) contrasts shapes, (1, ) both textures and shapes.
        block_size: Number of images that are sorted together, a multiple of the batch size; larger is harder.
        **kwargs: See MMEngine's ``DefaultSampler``.
    """

    def __init__(self, dataset, words: Sequence[int] = (1,), block_size: int = 1024, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        self.block_size = block_size
        classes = dataset.metainfo['classes']
        first = [dataset.get_data_info(i)['instances'][:1] for i in range(len(dataset))]
        names = [classes[instance[0]['bbox_label']].split() if instance else None for instance in first]
        shared = [tuple(name[word] for word in words) if name else () for name in names]
        kinds = {key: index for index, key in enumerate(sorted(set(shared)))}
        self.keys = torch.tensor([kinds[key] for key in shared])

    def __iter__(self) -> Iterator[int]:
        blocks = torch.tensor(list(super().__iter__())).split(self.block_size)
        # Keys are permuted for each block, so dropping the last batch favours no key.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        for block in blocks:
            keys = torch.randperm(int(self.keys.max()) + 1, generator=generator)[self.keys[block]]
            yield from block[keys.argsort(stable=True)].tolist()
