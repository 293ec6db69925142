# What dual encoders trained here share, see docs/dual_encoders.md. A config that inherits this gives the towers
# (model.model_cfg, as in OpenCLIP's JSON files), the data and the schedule.
_base_ = './default_runtime.py'

model = dict(
    type='OpenCLIPDualEncoder',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True
    ),
    model_cfg=dict(
        embed_dim=256,
        vision_cfg=dict(timm_proj='linear'),
        text_cfg=dict(hf_proj_type='linear', hf_pooler_type='mean_pooler', context_length=64),
    ),
)

load_image = dict(type='LoadImageReduced', min_size=224)
pack_inputs = dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'captions'))
shortest_224 = [dict(type='mmdet.Resize', scale=(100000, 224), keep_ratio=True), dict(type='CenterCrop', crop_size=224)]
shortest_299 = [dict(type='mmdet.Resize', scale=(100000, 299), keep_ratio=True), dict(type='CenterCrop', crop_size=299)]

train_loader = dict(
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
)
test_loader = dict(num_workers=4, sampler=dict(type='DefaultSampler', shuffle=False))

# The metric of the validation that chooses the best checkpoint, the learning rate and the end of the training.
monitor = 'retrieval/t2i/mAP@10'
default_hooks = dict(checkpoint=dict(save_best=monitor, rule='greater'))
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='MultiTestLoop')
