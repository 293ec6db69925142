# The student that learnt from a real CLIP, and its teacher beside it, on images with captions.
_base_ = '../kdeov_yolov8n_ov-coco.py'

retrieval_pipeline = [
    dict(type='LoadImageReduced'),
    *_base_.letterbox,
    dict(type='mmdet.PackDetInputs', meta_keys=(*_base_.meta_keys, 'captions')),
]
custom_hooks = [dict(type='CLIPDistillationHook', regions=False)]
test_dataloader = dict(_delete_=True, **_base_.val_dataloader)  # one data set, which a config names
