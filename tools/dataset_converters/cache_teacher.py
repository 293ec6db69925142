"""Write a teacher's embeddings of a config's training images and captions, so that training needs no teacher.

    python tools/dataset_converters/cache_teacher.py configs/kdeov_yolov8n_pretrain.py \\
        data/shapes/teacher_store --views 8

With --views V each image is embedded in V augmented views, which training replays exactly; without, in one view, that
of the test pipeline. An interrupted run resumes with the next shard. Several processes can share the work:
torchrun --nproc_per_node=2 tools/dataset_converters/cache_teacher.py ... --launcher pytorch. See docs/teacher_cache.md.
"""

import argparse
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import cv2
import numpy as np
import torch
from kdeov_mm.datasets import TeacherStoreWriter, prepare_data
from kdeov_mm.datasets.cached_teacher import CAPTIONS, IMAGES, data_identity, describe_pipeline, view_seed
from kdeov_mm.models.clip import (
    build_text_encoder,
    complete_teacher,
    describe_teacher,
    identify_teacher,
    teacher_view,
)
from kdeov_mm.utils import (
    add_cfg_options,
    InputError,
    check_at_least,
    interruptible,
    load_config,
    lock_run,
    parse_launched,
    set_launcher,
    user_errors,
)
from kdeov_mm.utils.config import find_hook, first_test_dataloader
from kdeov_mm.utils.seeds import seeded_sample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from mmengine.registry import init_default_scope
from mmyolo.registry import DATASETS, MODELS
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the training, with a CLIPDistillationHook')
    parser.add_argument('store', help='folder to write')
    parser.add_argument('--views', type=int, default=0, help='augmented views of each image; 0: one as in tests')
    parser.add_argument('--seed', type=int, default=0, help='of the views')
    parser.add_argument('--data-root', help="folder that takes the place of the config's data_root")
    parser.add_argument('--batch-size', type=int, default=64, help='images in one forward pass')
    parser.add_argument('--shard-size', type=int, default=1024, help='images a shard, after which it can go on')
    parser.add_argument('--workers', type=int, default=0, help='processes that load images')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_cfg_options(parser)
    args = parse_launched(parser)
    check_at_least(parser, args, views=0, seed=0, batch_size=1, shard_size=1, workers=0)
    return args


class Views(Dataset):
    """Packs every augmented view of every image; None if the image cannot be read.

    Args:
        dataset: Whose pipeline makes a view.
        views: Augmented views of each image, or 0 for one that is as it is.
        seed: Of the views.
    """

    def __init__(self, dataset: Dataset, views: int, seed: int) -> None:
        self.dataset, self.views, self.seed = dataset, views, seed

    def __getitem__(self, number: int) -> dict | None:
        index, view = divmod(number, max(self.views, 1))
        if not self.views:
            return self.dataset.prepare_data(index)
        with seeded_sample(view_seed(self.seed, index, view)):
            return self.dataset.prepare_data(index)


def training_data(cfg: Config, views: int) -> dict:
    """Return the config of the training data set, with the pipeline of the augmented views."""
    dataset = cfg.train_dataloader.dataset
    dataset = dict(dataset.dataset if dataset.type == 'CachedTeacherDataset' else dataset)
    if 'pipeline' not in dataset:
        raise InputError(
            f'train_dataloader.dataset: {dataset["type"]} has no pipeline of its own; write one store for '
            'each data set in it, with --cfg-options or a config that has it alone'
        )
    if not views:
        dataset['pipeline'] = first_test_dataloader(cfg).dataset.pipeline
    return dataset


def cache_images(
    writer: TeacherStoreWriter,
    missing: list[int],
    dataset: Dataset,
    teacher,
    first_captions: list[int],
    args: argparse.Namespace,
    progress: tqdm,
) -> None:
    """Write shards of image embeddings: ``embedding`` float16 ``[n, V, D]``, zeros for images that cannot be read,
    ``first_caption`` int64 ``[n]``, and for augmented views ``seed`` int64 ``[n, V]``."""
    views = max(args.views, 1)
    shards = [shard_of(number, len(dataset), args.shard_size) for number in missing]
    batches = [
        part for shard in shards for part in chunks(range(shard.start * views, shard.stop * views), args.batch_size)
    ]
    loader = iter(
        DataLoader(
            Views(dataset, args.views, args.seed), batch_sampler=batches, num_workers=args.workers, collate_fn=list
        )
    )
    for number, shard in zip(missing, shards):
        embeddings = torch.zeros(len(shard) * views, teacher.embed_dims, dtype=torch.float16)
        for start in range(0, len(embeddings), args.batch_size):
            found = [(start + i, sample) for i, sample in enumerate(next(loader)) if sample is not None]
            if found:
                data = pseudo_collate([sample for _, sample in found])
                images = teacher_view(data['inputs'], data['data_samples'], teacher.device)
                embeddings[[row for row, _ in found]] = teacher.encode_image(images).half().cpu()
            progress.update(min(args.batch_size, len(embeddings) - start) / views)
        tensors = dict(
            embedding=embeddings.view(len(shard), views, -1),
            first_caption=torch.tensor(first_captions[shard.start : shard.stop]),
        )
        if args.views:
            tensors['seed'] = torch.tensor([[view_seed(args.seed, i, view) for view in range(views)] for i in shard])
        writer.write(number, tensors)


def cache_captions(
    writer: TeacherStoreWriter, missing: list[int], dataset: Dataset, text_encoder, shard_size: int
) -> None:
    """Write shards of caption embeddings: ``embedding`` float16 ``[m, D]``, image by image."""
    for number in tqdm(missing, unit=' shards of captions'):
        shard = shard_of(number, len(dataset), shard_size)
        texts = [text for index in shard for text in dataset.get_data_info(index)['captions']]
        if texts:
            known = {text: row for row, text in enumerate(dict.fromkeys(texts))}
            embeddings = text_encoder.encode_text(list(known))[[known[text] for text in texts]]
        else:
            embeddings = text_encoder.encode_text([''])[:0]
        writer.write(number, dict(embedding=embeddings.half()))


def shard_of(number: int, total: int, size: int) -> range:
    """Return the images of a shard."""
    return range(number * size, min((number + 1) * size, total))


def chunks(numbers: range, size: int) -> Iterable[range]:
    """Parts of a range, in order."""
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


@interruptible(lambda: 'finished shards are saved; run the same command again to go on')
def main() -> None:
    args = parse_args()
    with ExitStack() as stack:
        with user_errors():
            cfg = load_config(args.config, args.cfg_options, args.data_root)
            set_launcher(cfg, args.launcher)
            stack.enter_context(lock_run(args.store, 'teacher store', ['**/.shard-*.safetensors']))
        write_store(cfg, args)


def write_store(cfg: Config, args: argparse.Namespace) -> None:
    """Write the store, or what of it is missing."""
    with user_errors():
        init_default_scope(cfg.get('default_scope', 'mmyolo'))
        text_encoder = build_text_encoder(cfg.model)
        teacher_cfg = complete_teacher(
            find_hook(cfg, 'CLIPDistillationHook').get('teacher'), SimpleNamespace(text_encoder=text_encoder)
        )
        dataset_cfg = training_data(cfg, args.views)
        cfg.train_dataloader.dataset = dataset_cfg  # the store that a cached config names is not there yet
        prepare_data(cfg, 'train')
        dataset = DATASETS.build(dataset_cfg)
        counts = [len(dataset.get_data_info(index).get('captions') or ()) for index in range(len(dataset))]
        identity = dict(data_identity(dataset), shard_size=args.shard_size)
        num_shards = -(-len(dataset) // args.shard_size)
        rank, world_size = get_dist_info()
        images = TeacherStoreWriter(
            Path(args.store, IMAGES),
            dict(
                identity,
                content='teacher embeddings of images',
                teacher=identify_teacher(teacher_cfg),
                views=args.views,
                seed=args.seed,
                pipeline=describe_pipeline(dataset_cfg['pipeline']),
                versions=dict(numpy=np.__version__, opencv=cv2.__version__, torch=torch.__version__),
            ),
            num_shards,
        )
        missing = images.missing(rank, world_size)
        captions = None
        if sum(counts):
            captions = TeacherStoreWriter(
                Path(args.store, CAPTIONS),
                dict(identity, content='embeddings of captions', text_encoder=text_encoder.id),
                num_shards,
            )
        teacher = MODELS.build(teacher_cfg).to(args.device) if missing else None
    if missing:
        print(describe_teacher(teacher, args.batch_size))
        with tqdm(
            total=sum(len(shard_of(number, len(dataset), args.shard_size)) for number in missing),
            unit=' images',
            disable=rank > 0,
        ) as progress:
            cache_images(images, missing, dataset, teacher, [0, *accumulate(counts)][:-1], args, progress)
    if captions is not None:
        cache_captions(captions, captions.missing(rank, world_size), dataset, text_encoder, args.shard_size)
    if rank > 0:
        return
    while not all(store.finish() for store in (images, captions) if store is not None):
        time.sleep(1)  # the others write under this process's lock
    print(
        f'{args.store}: {len(dataset)} images, {args.views or "no augmented"} views, '
        f'{sum(counts) if captions else 0} captions'
    )


if __name__ == '__main__':
    main()
