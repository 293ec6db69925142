"""The hook that measures the ratio of test time spent in the network."""

import time

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmyolo.registry import HOOKS

from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class NetworkTimeHook(Hook):
    """Logs the ratio of time spent in the model after each test data set.

    The rest is loading, collating, preprocessing, metrics and the embedding of texts. Processor time is that of this
    process and its threads. It does not include loading in worker processes or other programs on the machine.
    """

    def before_test_epoch(self, runner) -> None:
        """Start the clocks and watch the model."""
        device = next((p.device for p in unwrap(runner.model).parameters()), torch.device('cpu'))
        self.network = dict(wall=0.0, processors=0.0)
        self.images = 0

        def start(*_) -> None:
            """Remember the time before a forward pass."""
            self.since = clocks(device)

        def stop(*_) -> None:
            """Add the time of the forward pass."""
            for name, now in clocks(device).items():
                self.network[name] += now - self.since[name]

        model = unwrap(runner.model)
        self.handles = [model.register_forward_pre_hook(start), model.register_forward_hook(stop)]
        self.begin = clocks(device)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Count the images."""
        self.images += len(outputs)

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Log the ratios."""
        for handle in self.handles:
            handle.remove()
        if not self.images:
            return
        spent = {name: now - self.begin[name] for name, now in clocks().items()}
        self.ratio = {name: self.network[name] / spent[name] for name in spent}
        print_log(
            f'{self.images} images in {spent["wall"]:.1f} s; in the network: {self.ratio["wall"]:.1%} of the '
            f"time, {self.ratio['processors']:.1%} of the processors' time",
            'current',
        )


def clocks(device: torch.device = torch.device('cpu')) -> dict[str, float]:
    """Return wall-clock and processor time in seconds, after the device has finished its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return dict(wall=time.perf_counter(), processors=time.process_time())
