"""A batch sampler that starts in the middle of an epoch."""

from collections.abc import Iterator
from itertools import islice

from mmyolo.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


@DATA_SAMPLERS.register_module()
class SkipBatchSampler(BatchSampler):
    """Skips the first ``start`` batches of an epoch without loading them; its length stays that of the epoch.

    Args:
        sampler: Sampler of indices.
        batch_size: Samples in a batch.
        drop_last: Whether an incomplete last batch is skipped.
    """

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        return islice(super().__iter__(), self.start, None)
