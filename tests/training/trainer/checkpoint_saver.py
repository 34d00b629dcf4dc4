"""A process that forks children which save, and may be killed while they do; torch is imported only once.

Every line of standard input is a job in JSON. For each one the child's process id is printed and, when it is
gone, [exit status, exception] in JSON. A job:

    kind       "checkpoint" saves step after step for ever, "model" saves `model_contents(2)` once.
    folder     where.
    die_at     None, or the number of the file operation before which the child kills itself. A write that is
               due is done by half.
    most_bytes None, or the largest file that the child may write (RLIMIT_FSIZE).
"""

import itertools
import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch

from training.trainer.checkpoint import latest_checkpoint, save_checkpoint, save_model


def contents(step):
    """(tensors, meta) that tell the step in every entry; 200 kB, so that a kill may come within a write."""
    tensors = {
        "weights": torch.arange(50_000, dtype=torch.float32) + step,
        "moments": torch.full((3, 5), 1 / (step + 1), dtype=torch.float64).T,
        "step": torch.tensor(step),
    }
    return tensors, {"step again": step, "loss": 1 / (step + 1)}


def model_contents(version):
    tensors, facts = contents(version)
    return tensors, {"version": version}, facts


def die_before(operation):
    """Count writes, syncs, renames and removals; before the given one, SIGKILL.

    Syncs are only counted: a killed process leaves the same files behind with and without them.
    """
    count = itertools.count()

    def watched(function, half=None):
        def call(*arguments, **options):
            if next(count) == operation:
                if half is not None:
                    half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    write = os.write
    os.write = watched(write, lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    os.fsync = watched(lambda descriptor: None)
    os.replace = watched(os.replace)
    os.unlink = watched(os.unlink)


def save(job):
    folder = Path(job["folder"])
    found = latest_checkpoint(folder, lambda line: None) if job["kind"] == "checkpoint" else None
    if job["most_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["most_bytes"],) * 2)
    if job["die_at"] is not None:
        die_before(job["die_at"])
    if job["kind"] == "model":
        save_model(folder / "model", *model_contents(2))
        return
    for step in itertools.count(0 if found is None else found.step + 1):
        save_checkpoint(folder, step, *contents(step))


def run(job, answer):
    """Child: do the job, tell how it ended unless killed, and leave without the parent's exit handlers."""
    signal.alarm(300)  # should the test be gone
    said = ""
    try:
        save(job)
    except BaseException as problem:  # whatever it is, the test that reads it decides
        said = f"{type(problem).__name__}: {problem}"
    finally:
        os.write(answer, said.encode())
        os._exit(0)


def main():
    for line in sys.stdin:
        listen, answer = os.pipe()
        child = os.fork()
        if child == 0:
            run(json.loads(line), answer)
        os.close(answer)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        with os.fdopen(listen) as answered:
            print(json.dumps([os.waitstatus_to_exitcode(status), answered.read()]), flush=True)


if __name__ == "__main__":
    main()
