"""The benchmark behind tools/bench.py: graphc beside its peers, in one run.

workloads (models) -> worker processes (with_*.py, one framework each) -> rounds (contest) -> table and JSON (report)
"""
