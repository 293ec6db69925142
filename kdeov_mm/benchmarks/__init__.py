"""What the benchmarks measure with: baselines, inference engines, timing, cost, and how well two runs agree."""
