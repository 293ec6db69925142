# Stage 2 on real COCO with a real CLIP: detection of base and novel classes, see docs/real_coco.md.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/ov_coco.py',
    '_base_/kdeov_yolov8n_model.py',
    '_base_/clip_vit-b-32.py',
    '_base_/adamw.py',
]

# Another CLIP is another file _base_/clip_*.py. Without any CLIP: kdeov_yolov8n_ov-coco_text-only.py.

max_epochs = 80

model = dict(
    **_base_.clip_space,
    **_base_.scoring,
    bbox_head=dict(init_scale=50.0, loss_similarity=dict(scale=_base_.logit_scale)),
    loss_image=dict(losses=dict(similarity=dict(scale=_base_.logit_scale), align=None)),
)  # there are no captions

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=_base_.train_dataset,
)
test_loader = dict(batch_size=16, num_workers=2, sampler=dict(type='DefaultSampler', shuffle=False))
val_dataloader = dict(dataset=_base_.val_dataset, **test_loader)
test_dataloader = [
    dict(dataset=dataset, **test_loader)
    for dataset in (_base_.val_dataset, _base_.alone_dataset, _base_.general_dataset)
]
val_evaluator = dict(chance=False, **_base_.val_metric)
test_evaluator = [_base_.val_metric, _base_.alone_metric, _base_.general_metric]

custom_hooks = [dict(type='VocabularyHook'), dict(type='CLIPDistillationHook')]
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='MultiTestLoop')
