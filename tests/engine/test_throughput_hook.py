"""Images a second, from known times."""

from types import SimpleNamespace

from mmengine.logging import MessageHub

import kdeov_mm  # noqa: F401
from kdeov_mm.engine.hooks import ThroughputHook


def test_images_over_the_mean_time_of_the_window(monkeypatch):
    hub = MessageHub('throughput')
    runner = SimpleNamespace(message_hub=hub, log_processor=SimpleNamespace(window_size=2))
    found = []
    for seconds in (10.0, 2.0, 6.0):
        hub.update_scalar('train/time', seconds)
        ThroughputHook().after_train_iter(runner, 0, dict(inputs=[None] * 8))
        found.append(hub.get_scalar('train/images_per_second').current())
    assert found == [8 / 10, 8 / 6, 8 / 4]
    monkeypatch.setattr('kdeov_mm.engine.hooks.throughput_hook.get_world_size', lambda: 4)
    ThroughputHook().after_train_iter(runner, 0, dict(inputs=[None] * 8))
    assert hub.get_scalar('train/images_per_second').current() == 8
