"""Benchmarks: `./run bench NAME` prints lines `name value unit`, ratios measured within one run."""
