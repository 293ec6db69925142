# ViT-B/16 and DistilBERT on Flickr8k: the towers stay as they were pre-trained, the projections learn.
_base_ = ['../_base_/dual_encoder.py', '../_base_/retrieval_flickr8k.py']

data_root = _base_.retrieval_dataset.data_root
max_epochs, batch_size = 30, 64

model = dict(
    pretrained=True,
    frozen=['image', 'text'],
    preprocess=dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    model_cfg=dict(
        vision_cfg=dict(timm_model_name='vit_base_patch16_224', image_size=224, timm_pool='token'),
        text_cfg=dict(hf_model_name='distilbert-base-uncased', hf_tokenizer_name='distilbert-base-uncased'),
    ),
)

pipeline = [_base_.load_image, *_base_.shortest_224, _base_.pack_inputs]
train_dataset = dict(
    _base_.retrieval_dataset,
    split='Flickr_8k.trainImages.txt',
    captions_per_image=5,
    test_mode=False,
    pipeline=pipeline,
)
val_dataset = dict(_base_.retrieval_dataset, split='Flickr_8k.devImages.txt', pipeline=pipeline)
train_dataloader = dict(batch_size=batch_size, dataset=train_dataset, **_base_.train_loader)
val_dataloader = dict(batch_size=batch_size, dataset=val_dataset, **_base_.test_loader)
test_dataloader = dict(
    batch_size=batch_size, dataset=dict(_base_.retrieval_dataset, pipeline=pipeline), **_base_.test_loader
)
val_evaluator = [
    *_base_.retrieval_metrics,
    dict(type='RetrievalMetric', prefix='retrieval_batch', fold_size=batch_size),  # top-1 and top-5 in the batch
]
test_evaluator = val_evaluator

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-3))
param_scheduler = [
    dict(type='ReduceOnPlateauLR', monitor=_base_.monitor, rule='greater', factor=0.5, patience=2, threshold=1e-3),
]
custom_hooks = [
    dict(type='ResumableEarlyStoppingHook', monitor=_base_.monitor, rule='greater', min_delta=1e-3, patience=5)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
