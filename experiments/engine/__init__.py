"""One training engine for any task: training, comparison, reports."""
