"""Hypothesis: the same examples in every run, and no limit on the time of one."""

from hypothesis import settings

settings.register_profile("reknit", derandomize=True, deadline=None)
settings.load_profile("reknit")
