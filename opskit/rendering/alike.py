"""Commands that are alike: the same but for their host's own name."""

from __future__ import annotations

import re


def as_template(command: str, host: str) -> str:
    """A command with its host's own name as a template has it."""
    return re.sub(rf"(?<![\w-]){re.escape(host)}(?![\w-])", "{{ server.name }}", command)
