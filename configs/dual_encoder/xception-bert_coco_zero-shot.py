# Zero-shot classification by Xception and BERT trained on COCO captions: CIFAR-10, CIFAR-100 and ImageNet-1k, with
# confusion matrices.
_base_ = ['./xception-bert_coco.py', '../_base_/zero_shot.py']

data_root = _base_.zero_shot_root
zero_shot_pipeline = [*_base_.shortest_299, _base_.zero_shot_pack]
test_dataloader = [
    dict(dataset=dict(pipeline=zero_shot_pipeline, **dataset), **_base_.zero_shot_loader)
    for dataset in _base_.zero_shot_datasets.values()
]
test_evaluator = [dict(prefix=name, **_base_.zero_shot_metric) for name in _base_.zero_shot_datasets]
