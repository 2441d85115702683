"""The suites: each makes groups of programs for what is wanted."""
