# Stage 1 from the teacher's stored embeddings (docs/teacher_cache.md). Write them first:
#   python tools/dataset_converters/cache_teacher.py configs/kdeov_yolov8n_pretrain.py \
#       data/shapes/teacher_store --views 8
_base_ = './kdeov_yolov8n_pretrain.py'

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
custom_hooks = [dict(type='VocabularyHook'), dict(type='CLIPDistillationHook', train=False)]
train_cfg = dict(type='ResumableTrainLoop')  # whose samples are functions of seed, epoch and index
