"""``python -m verify.tensor_power``: Theorem 2 in ReLU attention beside the exact iteration."""

import sys

from console.errors import run_command
from verify.tensor.relu_command import app

if __name__ == "__main__":
    sys.exit(run_command(app))
