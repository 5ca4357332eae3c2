"""How long a run goes on before anything is shown of it: what ends sooner needs no progress."""

from typing import Final

MOMENT_SECONDS: Final = 0.7
