"""EM with unknown covariances in the conformance suite that every theorem passes."""

import pytest
from crossed import crossed

from verify.em.covariance_theorem import DIAGONAL, FULL, SPHERICAL, TIED, TIED_SPHERICAL
from verify.engine.conformance import conformance

TestDiagonal = crossed(DIAGONAL)
TestFull = pytest.mark.slow(conformance(FULL))
TestSpherical = pytest.mark.slow(conformance(SPHERICAL))
TestTiedSpherical = pytest.mark.slow(conformance(TIED_SPHERICAL))
TestTied = pytest.mark.slow(conformance(TIED))
