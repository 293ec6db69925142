# OV-COCO (Zareian et al. 2021, "Open-vocabulary object detection using captions"): COCO 2017 with 48 base
# classes, whose boxes are learnt, and 17 novel ones, which are only tested. In COCO's official layout.
data_root = 'data/coco/'
image_size = 640

# Scaled to fit and padded to a square; the boxes of the prediction come back to the original image.
letterbox = [
    dict(type='YOLOv5KeepRatioResize', scale=(image_size, image_size)),
    dict(type='LetterResize', scale=(image_size, image_size), allow_scale_up=False, pad_val=dict(img=114)),
]
train_meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
meta_keys = (*train_meta_keys, 'pad_param')  # not in training, where the affine transform moves the padding
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    *letterbox,
    dict(
        type='YOLOv5RandomAffine',
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        scaling_ratio_range=(0.5, 1.5),
        max_aspect_ratio=100.0,
        border_val=(114, 114, 114),
    ),
    dict(type='YOLOv5HSVRandomAug'),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs', meta_keys=train_meta_keys),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    *letterbox,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys),
]

# All images, but boxes and labels of the base classes only. No captions: COCO's name novel classes too.
train_dataset = dict(
    type='OVCocoDataset',
    data_root=data_root,
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    vocabulary='ov_coco',
    groups=('base',),
    filter_cfg=dict(filter_empty_gt=False),
    pipeline=train_pipeline,
)
# Each class name is asked alone.
alone_dataset = dict(
    type='OVCocoDataset',
    data_root=data_root,
    ann_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    vocabulary='ov_coco',
    groups=('base', 'novel'),
    test_mode=True,
    pipeline=test_pipeline,
)
val_dataset = dict(alone_dataset, metainfo=dict(closed=True))  # OV-COCO: all 65 class names compete in every image
general_dataset = dict(alone_dataset, groups=None, general=True)  # "animal", "vehicle", ...
val_metric = dict(type='OVCocoMetric', ann_file=data_root + 'annotations/instances_val2017.json')
alone_metric = dict(type='AloneMetric', ann_file=data_root + 'annotations/instances_val2017.json')
general_metric = dict(alone_metric, prefix='general', general=True)
