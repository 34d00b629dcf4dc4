"""For all tests: hypothesis without a deadline, the same examples where CI is set; Ctrl-C is heard; legends.

A figure that a command draws in a test names every mark, in a legend that covers no data (console/marked.py).
"""

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell without job control starts what it puts in the background (`make test &`, nohup) with SIGINT
# ignored, and every process that a test starts inherits that: tests of Ctrl-C would then test nothing.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def figures_name_their_marks():
    from marked import faults
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    draw = FigureCanvasAgg.print_png

    def checked(canvas, *arguments, **options):
        draw(canvas, *arguments, **options)
        found = faults(canvas.figure)
        assert not found, found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "print_png", checked)
        yield
