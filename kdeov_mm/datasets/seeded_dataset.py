"""Augmentation as a function of seed, epoch and index."""

from typing import Any, Union

import torch
from mmyolo.registry import DATASETS
from torch.utils.data import Dataset

from kdeov_mm.utils.seeds import seed_sample


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Seeds each sample's randomness anew, so that it depends neither on the worker nor on what came before.

    An image that is drawn twice in an epoch is augmented the same way both times. All else is the wrapped data set's.

    Args:
        dataset: A data set or its config.
        seed: Of the training.
    """

    def __init__(self, dataset: Union[dict, Dataset], seed: int) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # also of workers that outlive an epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, between two passes."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        seed_sample(self.seed, int(self._epoch), index)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):  # not there yet while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)
