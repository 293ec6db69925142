# CIFAR-10, or a sample of it, as an image folder: {train,test}/<class>/*.jpg. Enlarged to what a YOLO can see.
data_root = 'data/cifar10/'
image_size = 64

pack = dict(
    type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'gt_label', 'captions')
)
train_dataset = dict(
    type='TorchvisionDataset',
    dataset=dict(type='ImageFolder', root=data_root + 'train'),
    pipeline=[
        dict(type='mmdet.YOLOXHSVRandomAug'),
        dict(
            type='RandomResize',
            scale=(image_size, image_size),
            ratio_range=(1.0, 1.5),
            resize_type='mmdet.Resize',
            keep_ratio=True,
        ),
        dict(type='mmdet.RandomCrop', crop_size=(image_size, image_size), allow_negative_crop=True),
        dict(type='mmdet.RandomFlip', prob=0.5),
        pack,
    ],
)
test_dataset = dict(
    type='TorchvisionDataset',
    dataset=dict(type='ImageFolder', root=data_root + 'test'),
    test_mode=True,
    pipeline=[dict(type='mmdet.Resize', scale=(image_size, image_size)), pack],
)
