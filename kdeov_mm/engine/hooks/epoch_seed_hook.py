"""Makes every epoch's randomness a function of seed and epoch."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds anew before each epoch, so that a resumed run draws what an uninterrupted one draws."""

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        set_random_seed((runner.seed + runner.epoch * 10007 + get_rank()) % 2**31)
