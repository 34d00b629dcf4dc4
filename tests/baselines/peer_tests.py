"""scikit-learn's own tests of GaussianMixture, from the installed package, with our names in place of its.

    python tests/baselines/peer_tests.py

Nothing but names and the wording of messages is replaced, by RENAMED and WORDED below: of private functions
by what does the same here. The tests themselves stay where scikit-learn keeps them and are no part of this
repository. Left out are the tests of array libraries other than numpy. "random" (responsibilities at random)
has no counterpart and becomes "plain-k-means++".
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from sklearn.mixture.tests import test_gaussian_mixture as original

RENAMED = {
    r"from sklearn\.mixture import GaussianMixture": "from baselines.em_estimator import EMMixture",
    r"\bGaussianMixture\(": "EMMixture(",
    r"This GaussianMixture instance": "This EMMixture instance",
    r"\binit_params=init_params": "init=NAMES.get(init_params, init_params)",
    r"\binit_params=": "init=",
    r"gmm\.init_params": "gmm.init",
    r'init_params = "full", "random"': 'init_params = "full", "random-points"',
    r"g\._n_parameters\(\)": "g.n_parameters_",
    r"gmm\._set_parameters\(params\)": "_set_parameters(gmm, params)",
    r"gmm\._initialize\(X, resp\)": "gmm.set_params(n_components=4, max_iter=0).fit(X)",
    r"Mock\(side_effect=_estimate_gaussian_parameters\)": "Mock(side_effect=baselines.em_pass.update)",
    r'sklearn\.mixture\._gaussian_mixture, "_estimate_gaussian_parameters"': 'baselines.em_pass, "update"',
    r"gmm\.init == init_params": "gmm.init == NAMES.get(init_params, init_params)",
}
NAMES = {"kmeans": "k-means", "random_from_data": "random-points", "random": "plain-k-means++"}
WORDED = {
    r'"The parameter \'weights\' should have the shape of ".*?weights_bad_shape\.shape\}"': (
        '"weights_init has shape (2, 1), needs (2,)"'
    ),
    r'"The parameter \'weights\' should be in the range.*?min value \{np\.max\(weights_bad_range\):\.5f\}"': (
        '"weights_init sums to"'
    ),
    r'"The parameter \'weights\' should be normalized, ".*?:\.5f\}"': '"weights_init sums to"',
    r'"The parameter \'means\' should have the shape of "': '"means_init has shape"',
    r"f\"The parameter '\{covar_type\} precision' should have the shape of\"": '"precisions_init has shape"',
    r"f\"'\{covar_type\} precision' should be \{not_positive_errors\[covar_type\]\}\"": (
        '"precisions_init.* is (-1.0, needs values > 0|not positive definite)"'
    ),
    r'"Best performing initialization did not.*?degenerate data\."': '"EMMixture did not converge"',
    r"\"Invalid value for 'n_samples'\"": '"n_samples is 0, needs"',
}
DEFAULTS = """
import baselines.em_pass

_Estimator = EMMixture


def EMMixture(n_components=1, *, covariance_type="full", **settings):  # scikit-learn's default type
    return _Estimator(n_components, covariance_type=covariance_type, **settings)


def _set_parameters(model, params):
    model.weights_, model.means_, model.covariances_, _ = params
    model.covariance_type_ = model.covariance_type


NAMES = {names!r}
"""


def adapted() -> str:
    """The text of the tests with other names."""
    text = Path(str(original.__file__)).read_text()
    for pattern, name in RENAMED.items():
        text = re.sub(pattern, name, text)
    for pattern, words in WORDED.items():
        text, count = re.subn(pattern, words.replace("\\", r"\\"), text, flags=re.DOTALL)
        if count == 0:
            raise ValueError(f"{pattern} is not found in {original.__file__}, needs another wording")
    marker = "COVARIANCE_TYPE = ["
    return text.replace(marker, DEFAULTS.replace("{names!r}", repr(NAMES)) + marker, 1)


def run() -> tuple[list[str], list[str]]:
    """Names of the tests that passed and of those that failed, skipped ones left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test_adapted.py"
        path.write_text(adapted())
        command = [sys.executable, "-m", "pytest", "-p", "sklearn.conftest", "-p", "no:cacheprovider"]
        command += ["-q", "-rpf", "--tb=line", "-k", "not array_api", "-c", "/dev/null", "--rootdir", folder]
        found = subprocess.run(  # noqa: S603  # of this interpreter and this file
            [*command, str(path)], capture_output=True, text=True, check=False
        )
    names = {kind: re.findall(rf"^{kind} \S*?::(\S+)", found.stdout, re.M) for kind in ("PASSED", "FAILED")}
    if not names["PASSED"]:
        raise ValueError(f"no test ran:\n{found.stdout[-2000:]}{found.stderr[-2000:]}")
    return names["PASSED"], names["FAILED"]


if __name__ == "__main__":
    passed, failed = run()
    print(f"{len(passed)} of {len(passed) + len(failed)} passed; failed:")
    print("\n".join(failed))
