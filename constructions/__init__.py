"""Hand-built transformer weights: a small language for writing them, and the theorems written in it."""

from constructions.construction import AssemblyError, Construction, Layer
from constructions.em import EMConstruction, em_construction
from constructions.em_pieces import Pieces
from constructions.em_run import EMRun
from constructions.heads import HeadSum, ReluHead, SoftmaxHead, linear_pair
from constructions.hypotheses import HypothesisError
from constructions.mlp import apply, clear, move, pick
from constructions.piecewise import PiecewiseLinear, chords, geometric, uniform
from constructions.scores import Score, dot, key_only
from constructions.softmax_tensor_bounds import best_epsilon
from constructions.softmax_tensor_power import SoftmaxTensorPower, softmax_tensor_power_construction
from constructions.stream import Block, Stream
from constructions.tensor_power import TensorPowerConstruction, tensor_power_construction
from constructions.tensor_power_bounds import required_offset
from constructions.tensor_run import TensorPowerRun
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
    "SoftmaxTensorPower",
    "Stream",
    "TensorPowerConstruction",
    "TensorPowerRun",
    "Transformer",
    "TransformerShape",
    "apply",
    "best_epsilon",
    "chords",
    "clear",
    "dot",
    "em_construction",
    "geometric",
    "key_only",
    "linear_pair",
    "move",
    "pick",
    "required_offset",
    "softmax_tensor_power_construction",
    "tensor_power_construction",
    "uniform",
]
