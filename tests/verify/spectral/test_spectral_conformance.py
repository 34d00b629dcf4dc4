"""The whole spectral algorithm in the conformance suite that every theorem passes."""

import pytest
from crossed import crossed

from verify.engine.conformance import conformance
from verify.spectral.theorem import ESTIMATED, SPECTRAL, SQUARES

TestSpectral = crossed(SPECTRAL)
TestFromSquares = pytest.mark.slow(conformance(SQUARES))
TestVarianceEstimated = pytest.mark.slow(conformance(ESTIMATED))
