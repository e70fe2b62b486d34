"""What `scripts/bench.py` measures: a file for each subject, and how results are kept and shown."""
