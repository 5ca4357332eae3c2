"""`python -m opskit` is `opskit`."""

import sys

from opskit.cli import main

sys.exit(main())
