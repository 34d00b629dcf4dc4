"""The search for the fewest pieces that are enough."""

import pytest

from constructions.language.fewest import fewest


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5, 1000, 1023, 1024, 1025])
def test_the_fewest_is_the_fewest(threshold):
    asked = []
    assert fewest(lambda pieces: asked.append(pieces) or pieces >= threshold) == threshold
    assert min(asked) >= 1
