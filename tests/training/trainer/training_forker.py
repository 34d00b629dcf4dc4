"""A process that forks children which train, and may be killed while they do; torch is imported only once.

Every line of standard input is a job in JSON; when its processes are gone, their exit codes are printed.

    arguments     of `python -m training.train`.
    log           the file to which standard output and error are appended.
    processes     as under torchrun, joined by gloo; 1 if left out.
    die_at        the event before which the process `rank` kills itself. Events are optimiser steps and file
                  operations, counted from 1; a write that is due is done by half.
    interrupt_at  the step before which the process `rank` gets SIGINT.
    rank          0 if left out.
    pace          seconds that pass between two looks at the clock of the recorder, which so does not depend
                  on the machine; 1 if left out.
    most_bytes    the largest file that may be written (RLIMIT_FSIZE).
"""

import importlib
import itertools
import json
import os
import resource
import signal
import socket
import sys
import traceback
from types import SimpleNamespace

sys.path.insert(0, os.getcwd())  # noqa: PTH109, the root of the repository

import typer

from console.errors import run_command
from training.train import app
from training.trainer import recorder
from training.trainer.loop import Trainer

# Imported late, by the command, by the first step of an optimiser and by building a command: here, not in
# every child.
importlib.import_module("training.trainer.command")
importlib.import_module("torch._dynamo")
typer.main.get_command(app)

ADDRESS = "127.0.0.1"


def die_before(event):
    """Count events; before the given one, SIGKILL."""
    count = itertools.count(1)

    def watched(function, half=None):
        def call(*arguments, **options):
            if next(count) == event:
                if half is not None:
                    half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    write = os.write
    os.write = watched(write, lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    os.replace = watched(os.replace)
    os.unlink = watched(os.unlink)
    Trainer.take_step = watched(Trainer.take_step)


def interrupt_before(step):
    take_step = Trainer.take_step

    def call(self, *stop):
        if self.step == step:
            signal.raise_signal(signal.SIGINT)
        return take_step(self, *stop)

    Trainer.take_step = call


def run(job, rank, port):
    """Child: train, and leave without the parent's exit handlers."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.fsync = lambda descriptor: None  # what a killed process leaves behind does not depend on it
    looks = itertools.count(0, job.get("pace", 1))
    recorder.time = SimpleNamespace(perf_counter=lambda: float(next(looks)))
    processes = job.get("processes", 1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR=ADDRESS, MASTER_PORT=str(port))
    if "most_bytes" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["most_bytes"],) * 2)
    if rank == job.get("rank", 0):
        if "die_at" in job:
            die_before(job["die_at"])
        if "interrupt_at" in job:
            interrupt_before(job["interrupt_at"])
    code = 1
    try:
        code = run_command(app, job["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    for line in sys.stdin:
        job = json.loads(line)
        with socket.create_server((ADDRESS, 0)) as server:
            port = server.getsockname()[1]
        children = []
        for rank in range(job.get("processes", 1)):
            child = os.fork()
            if child == 0:
                run(job, rank, port)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main()
