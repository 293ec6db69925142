"""The hook that logs images per second."""

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Adds ``images_per_second`` of all ranks to the training log: over the log's window, including data loading.

    The hook reads the ``time`` of MMEngine's IterTimerHook, which runs before it.
    """

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Update the rate."""
        seconds = runner.message_hub.get_scalar('train/time').mean(runner.log_processor.window_size)
        images = len(data_batch['inputs']) * get_world_size()
        runner.message_hub.update_scalar('train/images_per_second', images / max(seconds, 1e-9))
