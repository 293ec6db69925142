"""Write a region store: the teacher's embeddings of labelled boxes and of the objects that a student finds elsewhere.

    python tools/dataset_converters/cache_regions.py configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n \\
        data/shapes/region_store

configs/kdeov_yolov8n_cached-regions.py then trains without a teacher of regions (docs/design.md). An interrupted run
resumes. Several processes can share the work:
torchrun --nproc_per_node=2 tools/dataset_converters/cache_regions.py ... --launcher pytorch
"""

import argparse
import time
from contextlib import ExitStack

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import torch
from kdeov_mm.apis import build_vocabulary, load_model
from kdeov_mm.datasets import TeacherStoreWriter, prepare_data
from kdeov_mm.datasets.load_image import read_content
from kdeov_mm.models.post_processing import to_input, to_original
from kdeov_mm.models.clip import RegionTeacher, ClassEmbeddings, complete_teacher, identify_teacher
from kdeov_mm.models.clip.region_teacher import BACKGROUND_PROMPTS
from kdeov_mm.utils import (
    add_cfg_options,
    check_at_least,
    interruptible,
    load_config,
    lock_run,
    parse_launched,
    resolve_checkpoint,
    set_launcher,
    user_errors,
)
from kdeov_mm.utils.config import find_hook, first_test_dataloader
from kdeov_mm.utils.decode import decode_image
from kdeov_mm.utils.files import sha256
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from mmengine.registry import init_default_scope
from mmyolo.registry import DATASETS, MODELS
from tqdm import tqdm


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the student, with a CLIPDistillationHook')
    parser.add_argument('checkpoint', help='checkpoint or work dir of a trained student, which proposes the regions')
    parser.add_argument('store', help='folder to write')
    parser.add_argument('--data-root', help="folder that takes the place of the config's data_root")
    parser.add_argument('--batch-size', type=int, default=32, help='images in one forward pass')
    parser.add_argument('--shard-size', type=int, default=1024, help='images a shard, after which it can go on')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_cfg_options(parser)
    args = parse_launched(parser)
    check_at_least(parser, args, batch_size=1, shard_size=1)
    return args


@torch.no_grad()
def embed_batch(model, region_teacher: RegionTeacher, data: dict, device: str) -> dict:
    """Make the rows of the store for one batch of the test pipeline."""
    inputs = model.data_preprocessor(data, training=False)
    head = model.bbox_head
    x = model.extract_feat(inputs['inputs'], model.class_embeddings if model.fusion is not None else None)
    objectness, distances, _, _ = head.head_module(x)
    scores, boxes = head.flatten_predictions(objectness, distances)
    rows = dict(image=[], box=[], label=[], embedding=[])
    for score, box, sample in zip(scores, boxes, inputs['data_samples']):
        given = sample.gt_instances
        known = torch.as_tensor(given.bboxes).to(device)  # in pixels of the original image already
        found = head.propose(score, box, to_input(known, sample.metainfo), sample.img_shape)
        image = (
            torch.from_numpy(decode_image(read_content(sample.img_path))[0][..., ::-1].copy())
            .permute(2, 0, 1)
            .to(device)
        )
        regions = torch.cat([known, to_original(found, sample.metainfo)])
        embeddings, objects = region_teacher(image[None].float() / 255, [regions])
        keep = head.keep_objects(objects, len(known))
        labels = torch.cat([given.labels, given.labels.new_full((len(found),), -1)])
        rows['image'].append(torch.full((int(keep.sum()),), sample.img_id))
        rows['box'].append(regions[keep].float())
        rows['label'].append(labels[keep])
        rows['embedding'].append(embeddings[keep].half())
    return {name: torch.cat(values).cpu() for name, values in rows.items()}


@interruptible(lambda: 'finished shards are saved; run the same command again to go on')
def main() -> None:
    args = parse_args()
    with ExitStack() as stack:
        with user_errors():
            cfg = load_config(args.config, args.cfg_options, args.data_root)
            set_launcher(cfg, args.launcher)
            stack.enter_context(lock_run(args.store, 'region store', ['**/.shard-*.safetensors']))
        write_store(cfg, args)


def write_store(cfg: Config, args: argparse.Namespace) -> None:
    """Write the store, or what of it is missing."""
    with user_errors():
        init_default_scope(cfg.get('default_scope', 'mmyolo'))
        checkpoint = resolve_checkpoint(args.checkpoint)
        distillation = find_hook(cfg, 'CLIPDistillationHook')
        prepare_data(cfg, 'train', 'test')
        pipeline = first_test_dataloader(cfg)['dataset']['pipeline']
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=pipeline, test_mode=True))
        names = dataset.metainfo['classes']
        model = load_model(cfg, checkpoint, build_vocabulary(cfg, names), args.device)
        background = ClassEmbeddings.build(BACKGROUND_PROMPTS, model.text_encoder, 'none')
        source = complete_teacher(distillation.get('teacher'), model)
        identity = dict(
            content='regions',
            teacher=identify_teacher(source),
            student=sha256(checkpoint),
            annotations=sha256(dataset.ann_file),
            classes=list(names),
            proposals=model.bbox_head.proposals,
            proposal_score=model.bbox_head.proposal_score,
            proposal_object=model.bbox_head.proposal_object,
            shard_size=args.shard_size,
        )
        writer = TeacherStoreWriter(args.store, identity, -(-len(dataset) // args.shard_size))
        rank, world_size = get_dist_info()
        missing = writer.missing(rank, world_size)
        region_teacher = RegionTeacher(MODELS.build(source).to(args.device), model.class_embeddings, background)
    with tqdm(total=len(missing) * args.shard_size, unit=' images', disable=rank > 0) as progress:
        for number in missing:
            indices = range(number * args.shard_size, min((number + 1) * args.shard_size, len(dataset)))
            parts = []
            for start in range(0, len(indices), args.batch_size):
                data = pseudo_collate([dataset[i] for i in indices[start : start + args.batch_size]])
                parts.append(embed_batch(model, region_teacher, data, args.device))
                progress.update(len(data['inputs']))
            writer.write(number, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    if rank > 0:
        return
    while not writer.finish():
        time.sleep(1)  # the others write under this process's lock
    print(f'{args.store}: regions of {len(dataset)} images')


if __name__ == '__main__':
    main()
