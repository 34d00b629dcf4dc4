"""Where the networks are that this package ships."""

from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"
SHIPPED = {"d2": WEIGHTS / "tgmm_d2.safetensors", "d8": WEIGHTS / "tgmm_d8.safetensors"}
"""The models of this package by their names."""
