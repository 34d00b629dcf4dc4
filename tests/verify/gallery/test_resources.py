"""The table beside earlier work: every theorem of the gallery is in it, with its own counts."""

from __future__ import annotations

import pytest

from verify.gallery.resources import EARLIER, HEADER, gallery_resources
from verify.registry import CHECKS, GALLERY, THEOREMS

LAYERS = {
    "gradient descent for least squares": lambda steps: steps,
    "ridge regression, Newton's inverse": lambda steps: steps + 1,
    "PCA, power iteration, 1 component": lambda steps: steps + 2,
    "Lloyd's k-means, K = 5": lambda steps: 2 * steps,
    "mirror descent for mixture weights, K = 5": lambda steps: 2 * steps,
}
"""As the sentence beside each number says."""


def test_every_theorem_has_rows_and_lines() -> None:
    assert len(EARLIER) == len(GALLERY) == len(LAYERS)
    for key, theorem in GALLERY.items():
        assert THEOREMS[key] is theorem
        assert {f"{key}-search", f"{key}-paths"} <= set(CHECKS)


@pytest.mark.parametrize("steps", [1, 6])
def test_layers_are_as_said(steps: int) -> None:
    rows = gallery_resources([2, 5], steps)
    assert [row[0] for row in rows] == [theorem.name for theorem in EARLIER for _ in range(2)]
    for row in rows:
        assert len(row) == len(HEADER)
        assert int(row[3]) == LAYERS[row[0]](steps)


def test_the_lines_of_the_ledger_hold() -> None:
    for key in GALLERY:
        [searched] = CHECKS[f"{key}-search"](1, 40)
        assert searched.passed, searched.note
        assert searched.instances >= 40
        assert searched.evidence == "sampled"


def test_the_hard_limit_of_k_means_holds() -> None:
    [record] = CHECKS["kmeans-hard-limit"](2, 35)
    assert record.passed
    assert record.instances > 20
    assert 0 < record.observed <= 1
