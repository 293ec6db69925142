# The demo, with the teacher's embeddings of regions from a store (docs/design.md). Write the store first:
#   python tools/dataset_converters/cache_regions.py configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n \
#       data/shapes/region_store
_base_ = './kdeov_yolov8n.py'

region_store = _base_.data_root + 'region_store'
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='LoadRegions', store=region_store),
    *_base_.train_pipeline[2:-1],
    dict(_base_.train_pipeline[-1], type='PackRegions', store=region_store),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [dict(type='VocabularyHook'), dict(type='CLIPDistillationHook', regions=False)]
