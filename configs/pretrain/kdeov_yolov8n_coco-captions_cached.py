# The same from the teacher's stored embeddings (docs/teacher_cache.md). Write them first:
#   python tools/dataset_converters/cache_teacher.py \
#       configs/pretrain/kdeov_yolov8n_coco-captions.py data/coco/teacher_store \
#       --views 8 --workers 8
_base_ = './kdeov_yolov8n_coco-captions.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CachedTeacherDataset',
        dataset=_base_.train_dataset,
        store=_base_.data_root + 'teacher_store',
        teacher=dict(type='OpenCLIPTeacher', **_base_.clip),
        text_encoder=_base_.model.text_encoder,
    )
)
custom_hooks = [dict(type='CLIPDistillationHook', regions=False, train=False)]
