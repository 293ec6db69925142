"""A data set whose augmentation is a function of seed, epoch and index."""

from typing import Any

import torch
from mmyolo.registry import DATASETS
from torch.utils.data import Dataset

from kdeov_mm.utils.seeds import seed_sample


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Seeds the random generators for each sample, so a sample depends neither on the worker nor on earlier samples.

    An image that is drawn twice in an epoch is augmented the same way. All other attributes are those of the wrapped
    data set.

    Args:
        dataset: A data set or its config.
        seed: Seed of the training.
    """

    def __init__(self, dataset: dict | Dataset, seed: int) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # shared with persistent workers

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, between two passes."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        seed_sample(self.seed, int(self._epoch), index)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):  # missing while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)
