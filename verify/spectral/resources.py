"""The spectral construction beside earlier work, part by part."""

from __future__ import annotations

from constructions.spectral.weights import SpectralConstruction

EARLIER = ("part", "earlier work", "here", "remark")


def earlier_rows(weights: SpectralConstruction) -> list[tuple[str, str, str, str]]:
    """What is known to us of each part, and what it takes here."""
    plan = weights.plan
    found = weights.resources()
    round_layers = 1 + plan.corrections
    return [
        (
            "power iteration for one eigenvector",
            "1 linear-attention layer and a layer norm a step (2606.00605)",
            "1 layer and an RMS norm a step",
            "here of K rows at once, which makes them all the leading one but for the next part",
        ),
        (
            "PCA",
            "ReLU heads, about 3 layers an iteration, and deflation (2501.01312)",
            f"{round_layers} layers a round of K vectors, no deflation",
            "the rounds do not grow with K; a round also restores the condition",
        ),
        (
            "whitening",
            "none that is known to us",
            f"{plan.stretches + plan.whitenings + 4} layers, 8 heads at most",
            "no square root",
        ),
        (
            "cubic tensor power step",
            "2 layers, about d ReLU heads (2505.11918, Theorem 2)",
            "2 layers, 4 heads, for S starts at once",
            "heads do not grow with d, K or S",
        ),
        ("choice of a start, deflation", "none that is known to us", "5 and 5 layers a component", "exact"),
        (
            "the whole",
            "none that is known to us; any algorithm by a loop of 13 layers (2301.13196)",
            f"{found.layers:,} layers, {len(weights.construction.layers)} stored, {found.heads} heads",
            "from raw points to weights and means",
        ),
    ]
