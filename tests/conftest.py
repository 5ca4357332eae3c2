"""What holds in every test: how Hypothesis draws its examples, and that SIGINT interrupts."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("opskit", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("opskit")

# Tests interrupt themselves. Where a shell has begun them in the background, SIGINT would be ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
