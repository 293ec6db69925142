"""Measures what share of a test is spent in the network."""

import time
from typing import Dict, Optional

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmyolo.registry import HOOKS

from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class NetworkTimeHook(Hook):
    """After each test data set, logs the share of time that was spent in the model.

    All else is loading, collating, preprocessing and the metrics; the texts, which are embedded once and cached, count
    too. The processors' time is that of this process with its threads: loading in worker processes is not in it, and
    other programs on the machine do not change it.
    """

    def before_test_epoch(self, runner) -> None:
        """Start the clocks and watch the model."""
        device = next((p.device for p in unwrap(runner.model).parameters()), torch.device('cpu'))
        self.network = dict(wall=0.0, processors=0.0)
        self.images = 0

        def start(*_) -> None:
            self.since = clocks(device)

        def stop(*_) -> None:
            for name, now in clocks(device).items():
                self.network[name] += now - self.since[name]

        model = unwrap(runner.model)
        self.handles = [model.register_forward_pre_hook(start), model.register_forward_hook(stop)]
        self.begin = clocks(device)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: Optional[dict] = None, outputs: Optional[dict] = None
    ) -> None:
        self.images += len(outputs)

    def after_test_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Log the shares."""
        for handle in self.handles:
            handle.remove()
        if not self.images:
            return
        spent = {name: now - self.begin[name] for name, now in clocks().items()}
        self.share = {name: self.network[name] / spent[name] for name in spent}
        print_log(
            f'{self.images} images in {spent["wall"]:.1f} s; in the network: {self.share["wall"]:.1%} of the '
            f"time, {self.share['processors']:.1%} of the processors' time",
            'current',
        )


def clocks(device: torch.device = torch.device('cpu')) -> Dict[str, float]:
    """Wall-clock and processor time in seconds, once the device has done its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return dict(wall=time.perf_counter(), processors=time.process_time())
