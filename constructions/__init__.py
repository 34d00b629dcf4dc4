"""Hand-built transformer weights: a small language for writing them, and the theorems written in it."""

from constructions.construction import AssemblyError, Construction, Layer
from constructions.em import EMConstruction, em_construction
from constructions.em_pieces import Pieces
from constructions.em_run import EMRun
from constructions.hypotheses import HypothesisError
from constructions.heads import HeadSum, ReluHead, SoftmaxHead, linear_pair
from constructions.mlp import apply, clear, move
from constructions.piecewise import PiecewiseLinear, chords, geometric, uniform
from constructions.scores import Score, dot, key_only
from constructions.stream import Block, Stream
from constructions.transformer import LayerShape, Transformer, TransformerShape

__all__ = [
    "AssemblyError",
    "Block",
    "Construction",
    "EMConstruction",
    "EMRun",
    "HeadSum",
    "HypothesisError",
    "Layer",
    "LayerShape",
    "Pieces",
    "PiecewiseLinear",
    "ReluHead",
    "Score",
    "SoftmaxHead",
    "Stream",
    "Transformer",
    "TransformerShape",
    "apply",
    "chords",
    "clear",
    "dot",
    "em_construction",
    "geometric",
    "key_only",
    "linear_pair",
    "move",
    "uniform",
]
