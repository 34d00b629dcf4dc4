"""``python -m verify.em_construction``: Theorem 1, EM steps as softmax attention, beside plain EM."""

import sys

from console.errors import run_command
from verify.em.command import app

if __name__ == "__main__":
    sys.exit(run_command(app))
