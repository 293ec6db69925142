"""What the benchmarks measure with: baselines, inference engines, timing, cost, and how well two runs agree."""

# Those of inference_engines.ENGINES, whose import takes seconds.
ENGINE_NAMES = ('eager', 'compiled', 'ort_fp32', 'ort_int8', 'openvino', 'openvino_int8', 'cuda')
