"""What `EMMixture(verbose=...)` prints: a line a start, and lines on the way."""

from collections.abc import Callable

from baselines.em import Progress


def reporter(name: str, verbose: int, interval: int) -> Callable[[Progress], None] | None:
    """A function that prints to stdout what it is told of EM; None for verbose = 0.

    A line begins with `name`. verbose = 1 prints one for every start, 2 and above one for every `interval`
    steps as well.
    """
    if verbose == 0:
        return None

    def told(progress: Progress) -> None:
        where = f"{name}: "
        if progress.n_init > 1:
            where += f"start {progress.restart + 1} of {progress.n_init}, "
        level = f"log-likelihood per point {progress.level:.6f}"
        many = progress.n_tasks > 1
        if progress.ended:
            settled = progress.n_tasks - progress.running
            state = "converged" if settled else "not converged"
            if many:
                state, level = f"{settled} of {progress.n_tasks} data sets converged", f"average {level}"
            print(f"{where}{state} after {progress.step} steps, {level}")
        elif verbose > 1 and progress.step % interval == 0:
            going = f", {progress.running} of {progress.n_tasks} data sets go on" if many else ""
            print(f"{where}step {progress.step}, {level}{going}")

    return told
