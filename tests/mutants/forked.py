"""A process that runs tests in forked children, so that torch and the like are imported only once.

`python tests/mutants/forked.py ROOT`. Every line of standard input is a job in JSON: `tests`, a list of files
and node ids; or `code`, to be executed. Its outcome is printed as one line of JSON: `exit`, the exit code of
pytest or of the child, None when it hung; `failed`, the first test that failed; `seconds` of processor time;
`last`, the end of what the child wrote. Only libraries are imported here; what is under test, each child
imports from ROOT.
"""

import importlib
import json
import os
import resource
import sys
import tempfile
import traceback

SECONDS = 300  # of processor time: after so many a run of tests counts as hanging
LIBRARIES = (
    "torch torch._dynamo numpy scipy.stats scipy.optimize scipy.special scipy.sparse.linalg sklearn.mixture "
    "sklearn.cluster sklearn.metrics sklearn.datasets hypothesis mpmath sympy matplotlib.figure typer rich "
    "rich.progress jinja2 safetensors.torch tensorly pytest"
)


class Watch:
    """A plugin of pytest that notes the first failure."""

    failed = ""

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed and not self.failed:
            self.failed = f"collecting {report.nodeid}"


def main(root):
    # Of this file's own folder nothing is to be found, of the copy's root everything, and first.
    sys.path[:] = [root, *(entry for entry in sys.path if entry != os.path.dirname(__file__))]  # noqa: PTH120
    os.chdir(root)
    for name in LIBRARIES.split():
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def run(job):
    """The outcome of one job, in a child."""
    receive, send = os.pipe()
    with tempfile.TemporaryFile() as written:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            os.dup2(written.fileno(), 1)
            os.dup2(written.fileno(), 2)
            os.close(receive)
            code = 70
            try:
                code, failed = execute(job)
                os.write(send, json.dumps({"exit": code, "failed": failed}).encode())
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(send)
        told = os.read(receive, 65536)
        os.close(receive)
        _, status, usage = os.wait4(child, 0)
        written.seek(0)
        last = written.read().decode(errors="replace").strip().splitlines()[-30:]
    outcome = json.loads(told) if told else {"exit": os.waitstatus_to_exitcode(status), "failed": ""}
    seconds = usage.ru_utime + usage.ru_stime
    if not told and seconds >= SECONDS:
        outcome["exit"] = None
    return outcome | {"seconds": seconds, "last": "\n".join(last)}


def execute(job):
    """Exit code and first failure, in the child."""
    if "code" in job:
        exec(job["code"], {"__name__": "job"})  # noqa: S102
        return 0, ""
    watch = Watch()
    # Libraries that are plugins of pytest too are imported already, and not rewritten.
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(
        importlib.import_module("pytest").main([*options, *job["tests"]], plugins=[watch])
    ), watch.failed


if __name__ == "__main__":
    main(sys.argv[1])
