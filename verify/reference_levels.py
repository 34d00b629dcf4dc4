"""``python -m verify.reference_levels``: the published levels of the reference algorithms (verify/levels)."""

import sys

from console.errors import run_command
from verify.levels.command import app

if __name__ == "__main__":
    sys.exit(run_command(app))
