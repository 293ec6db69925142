# Xception and BERT on COCO captions, three captions an image, as they were pre-trained but for the projections.
# Karpathy's splits: many of their test images are in COCO's own train2017.
_base_ = ['../_base_/dual_encoder.py', '../_base_/retrieval_coco.py']

data_root = _base_.retrieval_dataset.data_root
max_epochs, batch_size = 8, 256

model = dict(
    pretrained=True,
    frozen=['image', 'text'],
    preprocess=dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    model_cfg=dict(  # BERT's own dropout is 0.1, too
        vision_cfg=dict(timm_model_name='legacy_xception', image_size=299, timm_pool='avg', timm_drop=0.1),
        text_cfg=dict(hf_model_name='bert-base-uncased', hf_tokenizer_name='bert-base-uncased'),
    ),
)

pipeline = [dict(_base_.load_image, min_size=299), *_base_.shortest_299, _base_.pack_inputs]
train_dataset = dict(
    _base_.retrieval_dataset, split=('train', 'restval'), captions_per_image=3, test_mode=False, pipeline=pipeline
)
val_dataset = dict(_base_.retrieval_dataset, split='val', indices=1000, pipeline=pipeline)
test_dataset = dict(_base_.retrieval_dataset, pipeline=pipeline)
train_dataloader = dict(batch_size=batch_size, dataset=train_dataset, **_base_.train_loader)
val_dataloader = dict(batch_size=batch_size, dataset=val_dataset, **_base_.test_loader)
test_dataloader = dict(batch_size=batch_size, dataset=test_dataset, **_base_.test_loader)
val_evaluator = dict(type='RetrievalMetric')
test_evaluator = [
    *_base_.retrieval_metrics,
    dict(  # image search, to look at
        type='RetrievalMetric',
        prefix='retrieval_search',
        num_answers=9,
        queries=[
            'a family standing next to the ocean on a sandy beach',
            'a red bus at night',
            'two dogs playing with a ball',
            'a plate of food on a table',
            'a man riding a wave',
        ],
    ),
]

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-3))
param_scheduler = [
    dict(type='ReduceOnPlateauLR', monitor=_base_.monitor, rule='greater', factor=0.2, patience=3, threshold=1e-3),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
