"""How Hypothesis draws examples in every test: without a clock, and under CI always the same ones."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("opskit", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("opskit")
