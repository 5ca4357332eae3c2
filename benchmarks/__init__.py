"""opskit beside its peers, as ratios: run by hand, never by the tests; `run.py` is the command."""
