"""Benchmarks: what is timed, on whatever device is there, beside the peers that are installed."""
