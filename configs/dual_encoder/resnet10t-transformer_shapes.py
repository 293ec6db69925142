# A dual encoder on what the demo's student may learn from: the images of the shapes dataset that have captions, all of
# base concepts. No teacher, no detection; retrieval and zero-shot classification as the demo's.
_base_ = ['../_base_/dual_encoder.py', '../_base_/shapes.py', '../_base_/adamw.py']

max_epochs, batch_size = 30, 64
size = 64

model = dict(
    model_cfg=dict(
        vision_cfg=dict(timm_model_name='resnet10t', image_size=size, timm_pool='avg'),
        text_cfg=dict(_delete_=True, context_length=48, width=48, heads=4, layers=3),
    )
)

pipeline = [
    dict(type='LoadImageReduced'),
    dict(type='mmdet.Resize', scale=(size, size)),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys),
]
caption_dataset = dict(type='ImageTextDataset', format='coco', data_root=_base_.data_root, pipeline=pipeline)
train_dataset = dict(
    ann_file='annotations/captions_train.json', data_prefix=dict(img='train/'), captions_per_image=2, **caption_dataset
)
val_dataset = dict(
    ann_file='annotations/captions_val.json', data_prefix=dict(img='val/'), test_mode=True, **caption_dataset
)
train_dataloader = dict(batch_size=batch_size, dataset=train_dataset, **dict(_base_.train_loader, num_workers=1))
val_dataloader = dict(batch_size=batch_size, dataset=val_dataset, **dict(_base_.test_loader, num_workers=0))
val_evaluator = dict(type='RetrievalMetric')
test_dataloader = [
    dict(batch_size=batch_size, dataset=dataset, **dict(_base_.test_loader, num_workers=0))
    for dataset in (_base_.test_dataset, _base_.single_dataset)
]
test_evaluator = [dict(type='RetrievalMetric'), dict(type='ZeroShotMetric')]

optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
