"""A sampler that mixes data sets by weight."""

from collections.abc import Iterator, Sequence

import torch
from mmengine.dataset import DefaultSampler
from mmyolo.registry import DATA_SAMPLERS

from kdeov_mm.utils.seeds import mix_seed


@DATA_SAMPLERS.register_module()
class MixtureSampler(DefaultSampler):
    """Draws from the parts of a ``ConcatDataset`` with given weights, whatever their sizes.

    Within each part no image repeats before all have been drawn, also across epochs: a large part with a small weight
    takes several epochs. The order is a function of seed and epoch. (MMDetection's ``MultiSourceSampler`` never ends
    and cannot resume from the start of an epoch.)

    Args:
        dataset: A ``ConcatDataset``, or a wrapper of it.
        weights: One positive number for each part; only their ratios matter.
        epoch_size: Samples in an epoch, over all processes; default: the number of images of all parts.
        seed: The same in all processes.

    Raises:
        ValueError: If the data set is no ``ConcatDataset``, the weights are not one positive number for each part, or
            an epoch is so short that a part gets no sample.
    """

    def __init__(
        self, dataset, weights: Sequence[float], epoch_size: int | None = None, seed: int | None = None
    ) -> None:
        ends = getattr(dataset, 'cumulative_sizes', None)
        if ends is None:
            raise ValueError(f'MixtureSampler needs a ConcatDataset, got {type(dataset).__name__}')
        if len(weights) != len(ends) or not all(0 < weight < float('inf') for weight in weights):
            raise ValueError(f'weights: give one positive number for each of the {len(ends)} data sets, got {weights}')
        super().__init__(dataset, shuffle=True, seed=seed)
        self.starts = [0, *ends[:-1]]
        self.sizes = [end - start for start, end in zip(self.starts, ends)]
        total = epoch_size or len(dataset)
        bounds = [round(total * sum(weights[:i]) / sum(weights)) for i in range(len(weights) + 1)]
        self.counts = [after - before for before, after in zip(bounds, bounds[1:])]
        if min(self.counts) < 1:
            raise ValueError(
                f'epoch_size: {total} samples with weights {list(weights)} give the data sets '
                f'{self.counts}; each needs at least one'
            )
        self.num_samples = -(-total // self.world_size)
        self.total_size = self.num_samples * self.world_size

    def _part(self, part: int) -> torch.Tensor:
        """Return this epoch's indices of one part, the next slice of an endless sequence of permutations."""
        size, count = self.sizes[part], self.counts[part]
        first = self.epoch * count
        passes = range(first // size, (first + count - 1) // size + 1)
        row = torch.cat([torch.randperm(size, generator=self._generator(part, number)) for number in passes])
        return row[first % size : first % size + count] + self.starts[part]

    def _generator(self, *numbers: int) -> torch.Generator:
        return torch.Generator().manual_seed(mix_seed(self.seed, *numbers))

    def __iter__(self) -> Iterator[int]:
        indices = torch.cat([self._part(part) for part in range(len(self.sizes))])
        indices = indices[torch.randperm(len(indices), generator=self._generator(len(self.sizes), self.epoch))]
        padded = indices.repeat(-(-self.total_size // len(indices)))[: self.total_size]
        return iter(padded[self.rank :: self.world_size].tolist())
