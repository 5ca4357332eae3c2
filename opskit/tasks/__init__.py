"""Task blocks: functions of the user's that run side by side, chunk by chunk, and are rolled back together.

`session.py` is what a user holds, `coordinator.py` the thread that sees to the tasks, `task.py` one of them.
"""

from opskit.tasks.session import Parallelize, parallelize

__all__ = ["Parallelize", "parallelize"]
