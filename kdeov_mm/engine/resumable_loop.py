"""A training loop that resumes from any step."""

from collections.abc import Sequence

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmyolo.registry import LOOPS
from torch.utils.data import IterableDataset

from kdeov_mm.utils.seeds import seed_step


class ValidatedHook(Hook):
    """Records the last validated epoch in each checkpoint."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Record the epoch."""
        runner.message_hub.update_info('validated_epoch', runner.epoch)


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Trains by epochs and resumes in the middle of an epoch with the next batch.

    Give ``AtomicCheckpointHook`` ``by_epoch=False`` and an interval in steps. A resumed training then ends with the
    same weights as an uninterrupted one, on CPU bit by bit, also with another number of workers (but not for shards).
    Each sample's randomness is a function of seed, epoch and index (:class:`~kdeov_mm.datasets.SeededDataset`), each
    step's of seed and step. An interrupted validation is repeated, as a learning rate may depend on it. With gradient
    accumulation the interval must be a multiple of the accumulated steps, as checkpoints have no gradients.

    Args:
        runner: The runner.
        dataloader: A config, with the plain batch sampler, of a data set with an index or of shards.
        max_epochs, val_begin, val_interval, dynamic_intervals: See MMEngine's ``EpochBasedTrainLoop``.

    Raises:
        ValueError: If the config has no seed or another batch sampler, the dataloader is built already, or (when run)
            the checkpoint is of an epoch of another length.
    """

    def __init__(self, runner, dataloader: dict, *args, **kwargs) -> None:
        if not isinstance(dataloader, dict):
            raise ValueError(f'ResumableTrainLoop: train_dataloader must be a config, got {type(dataloader).__name__}')
        if runner.cfg.get('randomness', {}).get('seed') is None:
            raise ValueError(
                'ResumableTrainLoop: a resumed training needs a seed; set randomness = dict(seed=0) in the config'
            )
        dataloader = dict(dataloader)
        if dataloader.get('batch_sampler') is not None:
            raise ValueError(
                f'ResumableTrainLoop: leave train_dataloader.batch_sampler out, got {dataloader["batch_sampler"]}'
            )
        if dataloader.get('sampler') is not None:  # shards have none
            dataloader.update(
                dataset=dict(type='SeededDataset', dataset=dataloader['dataset'], seed=runner.seed),
                batch_sampler=dict(type='SkipBatchSampler', drop_last=dataloader.pop('drop_last', False)),
            )
        super().__init__(runner, dataloader, *args, **kwargs)
        runner.register_hook(ValidatedHook())
        self._begun = False

    def run_epoch(self) -> None:
        """Iterate one epoch or the rest of it."""
        begun, self._begun = self._begun, True
        if not begun and self._epoch and self.runner.message_hub.runtime_info.get('validated_epoch', 0) < self._epoch:
            return  # resumed between an epoch and its validation, which comes next
        length = len(self.dataloader)
        self._start = self._iter - self._epoch * length
        if not 0 <= self._start <= length:
            raise ValueError(
                f'ResumableTrainLoop: the checkpoint is of epoch {self._epoch + 1} and step {self._iter}, which do not '
                f'fit epochs of {length} steps; resume with the same data and batch size'
            )
        dataset = self.dataloader.dataset
        if isinstance(dataset, IterableDataset):
            dataset.set_epoch(self._epoch, self._start)
        else:
            dataset.set_epoch(self._epoch)
            self.dataloader.batch_sampler.start = self._start
        super().run_epoch()

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Iterate one batch; ``idx`` counts from where the epoch resumed."""
        seed_step(self.runner.seed, self._iter, get_rank())
        super().run_iter(idx + self._start, data_batch)
