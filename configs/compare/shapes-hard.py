# KDEOV-n and YOLO-World-n on the hard shapes dataset, see docs/comparison.md:
# python tools/analysis_tools/compare.py configs/compare/shapes-hard.py
models = [
    dict(
        name='KDEOV-n',
        checkpoint='work_dirs/kdeov_yolov8n_shapes-hard',
        configs=dict(hard='configs/kdeov_yolov8n_shapes-hard.py'),
    ),
    dict(
        name='YOLO-World-n',
        checkpoint='work_dirs/yolo-world-n_shapes-hard',
        configs=dict(hard='configs/baselines/yolo-world-n_shapes-hard.py'),
    ),
]
benchmarks = dict(
    hard=dict(
        title='Hard shapes dataset',
        metrics=[
            'zero_shot/base/top1',
            'zero_shot/novel/top1',
            'ov/base/AP50',
            'ov/novel/AP50',
            'alone/base/AP50',
            'alone/novel/AP50',
            'alone/novel/false_alarms',
        ],
    )
)
