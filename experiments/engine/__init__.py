"""One engine for comparisons by training: tuning, seeds at once, checkpoints, records, reports."""
