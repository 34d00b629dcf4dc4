"""The tensor power constructions in the conformance suite: mixed sizes, two and three steps."""

import torch
from conformance import Case, ConstructionConformance
from tensor_power_instances import exact_path, instances
from torch import Tensor

from constructions import softmax_tensor_power_construction, tensor_power_construction
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu_bounds import path_bound, reference_steps

DIMS = (3, 2, 1)
D0 = 3


class TensorPowerConformance(ConstructionConformance):
    """A batch of d = 3, 2, 1 for one :class:`PowerIteration`; the first token holds v at the end."""

    power: PowerIteration
    without_gradient: frozenset[str] = frozenset()

    def case(self, dtype: torch.dtype) -> Case:
        tensors, starts = [], []
        for d in DIMS:
            T, v = instances("orthogonal", 1, d, seed=d)
            T = T + 0.05 * instances("gaussian", 1, d, seed=10 + d)[0]  # not symmetric, yet contracting
            # A plain path stays near 1: the unfolding of the orthogonal part has norm 2.
            T = T if self.power.normalised else T / 2
            tensors.append(T[0].to(dtype).double())
            starts.append(v[0].to(dtype).double())
        power = self.power
        batch = power.gather(tensors, starts, dtype)
        tokens, mask = power.embed(batch)
        run = power.run(tensors, starts, dtype=dtype)
        T, v = (part.double() for part in (batch.T, batch.v))
        path = exact_path(T, v, power.steps, power.normalised)
        own = path_bound(T, path, reference_steps(T, path, power.normalised), power.normalised)
        bound = torch.zeros_like(v)
        bound[:, : max(DIMS)] = power.error_bounds(tensors, starts, run, dtype).entries[:, -1]
        present = torch.arange(D0) < torch.tensor(DIMS)[:, None]
        limit = torch.where(present, bound + own.entries[:, -1], 0.0)  # beyond d there are exact zeros
        return Case(power.construction, tokens, mask, self._read, path[:, -1], limit, self.without_gradient)

    def _read(self, h: Tensor) -> Tensor:
        return h[:, 0, self.power.construction.stream.v.slice]


# The broadcast head gives the sink a score of 1000 and all others 0: exp(-1000) is 0 in floats, and so is the
# derivative of every weight.
BROADCAST_SCORE = frozenset({"layers.1.attention.query", "layers.1.attention.key"})


class TestPairsPlain(TensorPowerConformance):
    power = tensor_power_construction(D0, 3)


class TestOffsetRms(TensorPowerConformance):
    # |v_m s_j| <= 1 up to rounding; an offset near it keeps the scores of a rotated stream small.
    power = tensor_power_construction(D0, 3, offset=1.25, normalise="rms")


class TestPairsRms(TensorPowerConformance):
    power = tensor_power_construction(D0, 3, normalise="rms")


class TestPiecewise(TensorPowerConformance):
    # The slope of 1/sqrt at low^2 is low^-3 / 2: from 1/4 on, the rounding of a rotated stream stays small.
    power = tensor_power_construction(D0, 2, normalise="piecewise", pieces=24, norm_range=(0.25, 4.0))


class TestMean(TensorPowerConformance):
    power = tensor_power_construction(D0, 3, divide_by_tokens=True)


class TestMeanRms(TensorPowerConformance):
    power = tensor_power_construction(D0, 2, normalise="rms", divide_by_tokens=True)


class TestSoftmaxPlain(TensorPowerConformance):
    """The heads' scale is e^c alpha / (2 eps). At c = 36, eps = 1e-3 it is 1e18, and attention weights near
    1 at the sink times 0 stand beside it: the rounding of a rotated stream, in which that 0 is a sum of D
    products, would be 1e18 u. With c = 4 and eps = 1/4 the scale is 146: every comparison means something,
    and the leakage, 3 e^-4 at most, is part of the bound.
    """

    power = softmax_tensor_power_construction(D0, 2, 0.25, 2, 4.0, "none", 4.0)
    without_gradient = BROADCAST_SCORE


class TestSoftmaxRms(TensorPowerConformance):
    """As above, with c = 8: the bound of three steps needs less leakage. The scale is 8e3."""

    power = softmax_tensor_power_construction(D0, 3, 0.25, 2, 8.0)
    without_gradient = BROADCAST_SCORE
