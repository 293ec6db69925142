"""Batches from any one of an epoch on."""

from itertools import islice
from typing import Iterator, List

from mmyolo.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


@DATA_SAMPLERS.register_module()
class SkipBatchSampler(BatchSampler):
    """Leaves out the first ``start`` batches of an epoch, without loading them; its length stays the epoch's.

    Args:
        sampler: Of the indices.
        batch_size: Samples in a batch.
        drop_last: Whether an incomplete last batch is left out.
    """

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.start = 0

    def __iter__(self) -> Iterator[List[int]]:
        return islice(super().__iter__(), self.start, None)
