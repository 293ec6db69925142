"""Measure what distillation costs in a training step: with stored embeddings, and with the teacher online.

    python tools/benchmarks/distillation.py configs/kdeov_yolov8n_pretrain_cached.py --batch-size 32

Seconds are of CPU time of this process, which a busy machine does not lengthen much, and of wall time; the three kinds
of steps take turns. "none" is the student's step with a loss that needs no teacher.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from statistics import median

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import torch
from kdeov_mm.models.clip import ClassEmbeddings
from kdeov_mm.utils import add_cfg_options, interruptible, load_config, user_errors
from kdeov_mm.utils.config import find_hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmyolo.registry import HOOKS, MODELS
from torch.utils.data import DataLoader

BATCH_SIZE = 32


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config that trains from a store')
    parser.add_argument('--steps', type=int, default=10, help='of each kind, after two that do not count')
    parser.add_argument('--data-root', help="folder that takes the place of the config's data_root")
    add_cfg_options(parser)
    return parser.parse_args()


def endless(loader: DataLoader) -> Iterator[dict]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


@interruptible()
def main() -> None:
    args = parse_args()
    with user_errors():
        cfg = load_config(args.config, args.cfg_options, args.data_root)
        init_default_scope('mmyolo')
        cfg.train_dataloader.update(batch_size=BATCH_SIZE, num_workers=0, persistent_workers=False)
        cached_loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        plain_cfg = copy.deepcopy(cfg.train_dataloader)
        plain_cfg.dataset = plain_cfg.dataset.dataset
        plain_loader = Runner.build_dataloader(plain_cfg, seed=0)
        model = MODELS.build(cfg.model)
        hook = HOOKS.build(dict(find_hook(cfg, 'CLIPDistillationHook'), regions=False))
        names = cached_loader.dataset.metainfo.get('classes')
        if names:
            model.set_vocabulary(ClassEmbeddings.build(names, model.text_encoder))
        hook.teacher = MODELS.build(hook.find_teacher(model))
    cached, plain = endless(cached_loader), endless(plain_loader)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    cosine = torch.nn.CosineSimilarity()

    def step(batches, online=False, distilled=True):
        batch = next(batches)
        if online:
            hook.fill(batch)
        data = model.data_preprocessor(batch, training=True)
        if distilled:
            losses = model.loss(data['inputs'], data['data_samples'])
            loss = sum(value for name, value in losses.items() if 'loss' in name)
        else:
            loss = cosine(model.encode_image(data['inputs']), constant).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    constant = torch.ones(BATCH_SIZE, model.embed_dims)
    kinds = dict(
        none=lambda: step(plain, distilled=False), cached=lambda: step(cached), online=lambda: step(plain, online=True)
    )
    seconds = {kind: [] for kind in kinds}
    for round_ in range(2 + args.steps):
        for kind in list(kinds)[:: -1 if round_ % 2 else 1]:
            start = time.process_time(), time.perf_counter()
            kinds[kind]()
            if round_ >= 2:
                seconds[kind].append((time.process_time() - start[0], time.perf_counter() - start[1]))
    base = median(cpu for cpu, _ in seconds['none'])
    print(
        f'{BATCH_SIZE} images a step, teacher {hook.teacher.name}, {torch.get_num_threads()} threads, '
        f'median of {args.steps} steps, data loading included'
    )
    print('| distillation | CPU ms | wall ms | CPU, of none |\n| --- | --- | --- | --- |')
    for kind, values in seconds.items():
        cpu, wall = (median(column) * 1000 for column in zip(*values))
        print(f'| {kind} | {cpu:.0f} | {wall:.0f} | {cpu / 1000 / base:.3f} |')


if __name__ == '__main__':
    main()
