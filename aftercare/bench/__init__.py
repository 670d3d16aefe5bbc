"""Benchmarks: each gives its figures as ratios to the bare engine in the same run, since machines differ and are noisy."""
