# A check of the whole path on real images: learns 80 of them by heart, then tests on these and on others.
_base_ = './kdeov_yolov8n_ov-coco_text-only.py'

image_size = 320
max_epochs = 200
batch_size = 16

letterbox = [
    dict(type='YOLOv5KeepRatioResize', scale=(image_size, image_size)),
    dict(type='LetterResize', scale=(image_size, image_size), allow_scale_up=False, pad_val=dict(img=114)),
]
train_pipeline = [*_base_.train_pipeline[:2], *letterbox, _base_.train_pipeline[-1]]  # nothing random
test_pipeline = [_base_.test_pipeline[0], *letterbox, *_base_.test_pipeline[-2:]]

train_dataloader = dict(batch_size=batch_size, num_workers=0, dataset=dict(pipeline=train_pipeline))
test_loader = dict(batch_size=batch_size, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
val_dataset = dict(_base_.val_dataset, pipeline=test_pipeline)
seen_dataset = dict(
    val_dataset, ann_file=_base_.train_dataset['ann_file'], data_prefix=_base_.train_dataset['data_prefix']
)
test_dataloader = [dict(dataset=val_dataset, **test_loader), dict(dataset=seen_dataset, **test_loader)]
test_evaluator = [
    _base_.val_metric,
    dict(_base_.val_metric, ann_file=_base_.data_root + seen_dataset['ann_file'], prefix='ov_train'),
]
val_dataloader = None
val_evaluator = None
val_cfg = None

optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=4, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=4, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=20))
test_cfg = dict(type='MultiTestLoop')
