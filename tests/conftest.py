"""For all tests: hypothesis without a deadline, the same examples where CI is set; Ctrl-C is heard."""

import os
import signal

from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell without job control starts what it puts in the background (`make test &`, nohup) with SIGINT
# ignored, and every process that a test starts inherits that: tests of Ctrl-C would then test nothing.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
