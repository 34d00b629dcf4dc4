"""Hand-built transformer weights: a small language for writing them, and the theorems written in it."""

from constructions.em.pieces import Pieces
from constructions.em.run import EMRun
from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction
from constructions.language import curves
from constructions.language.assembly import AssemblyError, Construction, Layer
from constructions.language.gates import pick, place
from constructions.language.heads import HeadSum, ReluHead, SoftmaxHead, linear_pair
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import apply, clear, copy, move
from constructions.language.piecewise import PiecewiseLinear, chords, geometric, uniform
from constructions.language.program import Repeat, in_order
from constructions.language.scores import Score, dot, key_only
from constructions.language.stream import Block, Stream
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from constructions.spectral.hypotheses import SpectralError
from constructions.spectral.plan import Plan
from constructions.spectral.run import SpectralRun
from constructions.spectral.weights import SpectralConstruction, spectral_construction
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction
from constructions.tensor_power.relu_bounds import required_offset
from constructions.tensor_power.run import TensorPowerRun
from constructions.tensor_power.softmax import SoftmaxTensorPower, softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import best_epsilon

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
    "Plan",
    "ReluHead",
    "Repeat",
    "Score",
    "SoftmaxHead",
    "SoftmaxTensorPower",
    "SpectralConstruction",
    "SpectralError",
    "SpectralRun",
    "Stream",
    "TensorPowerConstruction",
    "TensorPowerRun",
    "Transformer",
    "TransformerShape",
    "apply",
    "best_epsilon",
    "chords",
    "clear",
    "copy",
    "curves",
    "dot",
    "em_construction",
    "geometric",
    "in_order",
    "key_only",
    "linear_pair",
    "move",
    "pick",
    "place",
    "required_offset",
    "softmax_tensor_power_construction",
    "spectral_construction",
    "tensor_power_construction",
    "uniform",
]
