# COCO captions (Chen et al. 2015) at CLIP's size: five captions an image, in COCO's official layout.
data_root = 'data/coco/'
image_size = 224

meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction', 'captions')
load = dict(type='LoadImageReduced', min_size=image_size)
pack = dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
train_pipeline = [
    load,
    dict(type='mmdet.RandomCrop', crop_size=(0.7, 0.7), crop_type='relative_range', allow_negative_crop=True),
    dict(type='mmdet.Resize', scale=(image_size, image_size)),
    dict(type='mmdet.RandomFlip', prob=0.5),
    pack,
]
test_pipeline = [load, dict(type='mmdet.Resize', scale=(image_size, image_size)), pack]

train_dataset = dict(
    type='ImageTextDataset',
    format='coco',
    data_root=data_root,
    ann_file='annotations/captions_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=train_pipeline,
)
val_dataset = dict(
    type='ImageTextDataset',
    format='coco',
    data_root=data_root,
    ann_file='annotations/captions_val2017.json',
    data_prefix=dict(img='val2017/'),
    test_mode=True,
    pipeline=test_pipeline,
)
