# The full CLIP on image-text retrieval: COCO captions, Karpathy's 5k and 1k.
_base_ = ['./openclip_vit-b-32.py', '../_base_/retrieval_coco.py']

data_root = _base_.retrieval_dataset.data_root
pipeline = [
    dict(type='LoadImageReduced'),
    _base_.pipeline[0],
    dict(type='mmdet.PackDetInputs', meta_keys=(*_base_.zero_shot_pack.meta_keys, 'captions')),
]
test_dataloader = [dict(dataset=dict(pipeline=pipeline, **_base_.retrieval_dataset), **_base_.zero_shot_loader)]
test_evaluator = [_base_.retrieval_metrics]
