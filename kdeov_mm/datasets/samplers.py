"""Samplers that mmengine lacks."""

from typing import Iterator, Sequence

import torch
from mmengine.dataset import DefaultSampler
from mmyolo.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class HardNegativeSampler(DefaultSampler):
    """Shuffles, then sorts every block of images so that neighbours, and so batches, share words of their names.

    A contrastive loss learns only what tells the pairs of a batch apart: among random images of many colours and
    textures that is hardly ever the shape. Hard negatives in the batch mend it (NegCLIP, Yuksekgonul et al. 2023).

    Args:
        dataset: With ``metainfo['classes']`` and ``instances`` in its data infos.
        words: Positions of the words in the name of an image's first object that neighbours share; in "striped blue
            star" (0, 1) sets shapes against each other, (1, ) both textures and shapes.
        block_size: Images that are sorted together; a multiple of the batch size, and the larger the harder.
        **kwargs: See mmengine's ``DefaultSampler``.
    """

    def __init__(self, dataset, words: Sequence[int] = (1,), block_size: int = 1024, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        self.block_size = block_size
        classes = dataset.metainfo['classes']
        first = [dataset.get_data_info(i)['instances'][:1] for i in range(len(dataset))]
        names = [classes[instance[0]['bbox_label']].split() if instance else None for instance in first]
        shared = [tuple(name[word] for word in words) if name else () for name in names]
        kinds = {key: number for number, key in enumerate(sorted(set(shared)))}
        self.keys = torch.tensor([kinds[key] for key in shared])

    def __iter__(self) -> Iterator[int]:
        blocks = torch.tensor(list(super().__iter__())).split(self.block_size)
        # A block's first key changes from block to block, so that dropping the last batch favours no key.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        for block in blocks:
            keys = torch.randperm(int(self.keys.max()) + 1, generator=generator)[self.keys[block]]
            yield from block[keys.argsort(stable=True)].tolist()
