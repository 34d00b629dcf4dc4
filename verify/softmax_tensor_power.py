"""``python -m verify.softmax_tensor_power``: Theorem 2 in softmax attention beside the exact iteration."""

import sys

from console.errors import run_command
from verify.tensor.softmax_command import app

if __name__ == "__main__":
    sys.exit(run_command(app))
