"""Training that goes on from any step."""

from typing import Sequence

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmyolo.registry import LOOPS
from torch.utils.data import IterableDataset

from kdeov_mm.utils.seeds import seed_step


class ValidatedHook(Hook):
    """Notes in each checkpoint which epoch was validated last."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner, metrics=None) -> None:
        runner.message_hub.update_info('validated_epoch', runner.epoch)


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """An epoch-based loop that, resumed in the middle of an epoch, goes on with the very next batch.

    Give ``AtomicCheckpointHook`` ``by_epoch=False`` and an interval in steps. A resumed training then ends with the
    weights of an undisturbed one, on CPU bit by bit, also with another number of workers (but not for shards):
    each sample's randomness is a function of seed, epoch and index (:class:`~kdeov_mm.datasets.SeededDataset`),
    each step's of seed and step. A validation that was cut short is made up for, as a learning rate may depend on it.
    With gradient accumulation the interval must be a multiple of the accumulated steps, as gradients are in no
    checkpoint.

    Args:
        runner: The runner.
        dataloader: A config, with the plain batch sampler, of a data set with an index or of shards.
        max_epochs, val_begin, val_interval, dynamic_intervals: See mmengine's ``EpochBasedTrainLoop``.

    Raises:
        ValueError: The config has no seed or another batch sampler, the dataloader is built already, or (when run) the
            checkpoint is of an epoch of another length.
    """

    def __init__(self, runner, dataloader: dict, *args, **kwargs) -> None:
        if not isinstance(dataloader, dict):
            raise ValueError(f'ResumableTrainLoop: train_dataloader must be a config, got {type(dataloader).__name__}')
        if runner.cfg.get('randomness', {}).get('seed') is None:
            raise ValueError(
                'ResumableTrainLoop: what comes after a resume depends on the seed; set '
                'randomness = dict(seed=0) in the config'
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
        """Iterate one epoch, or what is left of it."""
        begun, self._begun = self._begun, True
        if not begun and self._epoch and self.runner.message_hub.runtime_info.get('validated_epoch', 0) < self._epoch:
            return  # resumed between an epoch and its validation, which comes next, if it is due
        length = len(self.dataloader)
        self._start = self._iter - self._epoch * length
        if not 0 <= self._start <= length:
            raise ValueError(
                f'ResumableTrainLoop: the checkpoint is of epoch {self._epoch + 1} and step {self._iter}, which do not '
                f'fit epochs of {length} steps; resume with the data and batch size of before'
            )
        dataset = self.dataloader.dataset
        if isinstance(dataset, IterableDataset):
            dataset.set_epoch(self._epoch, self._start)
        else:
            dataset.set_epoch(self._epoch)
            self.dataloader.batch_sampler.start = self._start
        super().run_epoch()

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Iterate one batch; ``idx`` counts from where the epoch goes on."""
        seed_step(self.runner.seed, self._iter, get_rank())
        super().run_iter(idx + self._start, data_batch)
