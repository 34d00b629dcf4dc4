"""Shared by the tests of the learned model: its variants, points with masks, and what rounding may do."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from baselines.mixture import Mixture
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.transformer import MLP, SelfAttention
from training.model.estimate import Estimate
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM

VARIANTS = {
    f"{readout}{causal * ' causal'}{positions * ' positions'}{(not embedding) * ' no-embedding'}{kind}": (
        {
            "readout": readout,
            "causal": causal,
            "max_positions": 16 * positions,
            "task_embedding": embedding,
            "covariance": {" diagonal": "diagonal", " full": "full"}.get(kind, "unit"),
            "standardise": kind == " full",
        },
        2 * (kind == " polish"),
    )
    for readout in ("tokens", "pooling")
    for causal in (False, True)
    for positions in (False, True)
    for embedding in (True, False)
    for kind in ("", " diagonal", " full", " polish")
}
"""Every combination of the options: (arguments of ModelConfig, polish_steps)."""


def small_model(
    options: dict | None = None,
    polish_steps: int = 0,
    pieces: int = 8,
    components: tuple[int, ...] = (1, 2, 3),
    seed: int = 0,
) -> TGMM:
    """d = 2, two layers, two heads, width 8, float64."""
    torch.manual_seed(seed)
    config = ModelConfig(2, components, layers=2, heads=2, width=8, **(options or {}))
    return TGMM(config, polish_steps, pieces, torch.float64)


def points(*shape: int, seed: int = 1) -> Tensor:
    """Normal points of deviation 3 (B, N, d), float64."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=generator)


def prefix_mask(n_points: int, *lengths: int) -> Tensor:
    """(B, N): the first lengths[b] points are there."""
    return torch.arange(n_points) < torch.tensor(lengths)[:, None]


def fields(estimate: Estimate) -> list[Tensor]:
    """The tensors of an estimate."""
    return [part for part in estimate if part is not None]


def terms(estimate: Estimate, seed: int = 7) -> Tensor:
    """(B, F) every number of an estimate times a fixed random coefficient in [0, 1], another for each."""
    generator = torch.Generator().manual_seed(seed)
    flat = torch.cat([part.flatten(1) for part in fields(estimate)], dim=1)
    return flat * torch.rand(flat.shape[1], dtype=flat.dtype, generator=generator)


def mixture_terms(mixture: Mixture) -> Tensor:
    """Every number of B mixtures times a random coefficient of its own, (B, F)."""
    parts = [mixture.weights, mixture.means] + [mixture.covariances] * (mixture.covariances is not None)
    flat = torch.cat([part.flatten(1) for part in parts], dim=1)
    return flat * torch.rand(flat.shape, dtype=flat.dtype, generator=torch.Generator().manual_seed(3))


def rounding_tolerance(model: TGMM, score: Callable[[], Tensor]) -> float:
    """How far two evaluations of score().sum(), equal in real arithmetic, can be apart, to first order.

    ``score`` calls ``model``, which has no EM layers, once, and returns terms. The two evaluations may differ
    in the order of points and tasks, in padding, and in how a batch is cut. Each module's output then carries
    an error of at most e a token (see module_error); it changes the sum by at most e |g| a token, g the
    derivative by that output. The sum over modules and tokens, twice, as both evaluations are rounded.
    Products of two errors are left out: about 1e-13 of the rest.
    """
    outputs: list[tuple[nn.Module, Tensor, Tensor]] = []

    def record(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs.append((module, arguments[0].detach(), output))

    kinds = (nn.Linear, nn.LayerNorm, SelfAttention, MLP)
    hooks = [m.register_forward_hook(record) for m in model.modules() if isinstance(m, kinds)]
    added = score()
    for hook in hooks:
        hook.remove()
    added.sum().backward()
    u = unit_roundoff(torch.float64)
    stream = max(float(h.norm(dim=-1).max()) for module, h, _ in outputs if isinstance(module, nn.LayerNorm))
    bound = 0.0
    for module, h, output in outputs:
        assert output.grad is not None
        # Adding to the stream rounds once more, and so do positions, embeddings and the final log-softmax.
        error = module_error(module, h) + 4 * u * (stream + float(output.detach().norm(dim=-1).max()))
        bound += error * float(output.grad.norm(dim=-1).sum())
    model.zero_grad()
    # The terms: exponentials, a softmax or log-softmax of at most K = 3, a coefficient; then their sum.
    count = added.numel()
    return 2 * bound + 2 * gamma(count + 20, u) * float(added.detach().abs().sum() + count)


def module_error(module: nn.Module, h: Tensor) -> float:
    """Largest rounding error |.|_2 of a token's output; h (B, S, D) its input, E, H, N sizes as usual.

    eta is the largest |h|_2. A product with a matrix W over n terms errs by gamma_n |h|_2 |W|_F.

    Linear     the product, its bias: gamma_{D+2} (eta |W|_F + |b|_2).
    LayerNorm  D + 10 operations on entries of at most sqrt(D) |gain| + |bias|; centring loses
               r = |h| / |h - mean|, in a variance taken as a difference of squares r^2.
    Attention  scores off by sigma = gamma_{2D+E+2} eta^2 |W_Q| |W_K| c, so the log of a softmax weight by
               2 sigma, 4 u eta^2 |W_Q| |W_K| c for the largest score subtracted, and gamma_{4N+10} for N
               exponentials within two ulp, sums and quotient; then value, sum and W_O: gamma_{D+N+EH+2}.
    MLP        z_m = eta |w1_m| + |b1_m| errs by gamma_{D+2} z_m; |gelu'| <= 1.13, |gelu(z)| <= |z| and erf's
               formula errs by 8 u |z|; H of them are summed: gamma_{2D+H+16} sum_m z_m |w2_m| in all.
    """
    u, D = unit_roundoff(torch.float64), h.shape[-1]
    eta = float(h.norm(dim=-1).max())
    w = {name: value.detach() for name, value in module.named_parameters()}
    if isinstance(module, nn.Linear):
        return gamma(D + 2, u) * (eta * float(w["weight"].norm()) + float(w["bias"].norm()))
    if isinstance(module, nn.LayerNorm):
        sizes, spread = h.norm(dim=-1), (h - h.mean(-1, keepdim=True)).norm(dim=-1)
        lost = float((sizes / spread)[sizes > 0].max())  # a token of zeros, as padding is, rounds nothing
        size = math.sqrt(D) * float(w["weight"].abs().max()) + float(w["bias"].abs().max())
        return math.sqrt(D) * gamma(D + 10, u) * (1 + lost) ** 2 * size
    if isinstance(module, MLP):
        mass = (eta * w["w1"].norm(dim=0) + w["b1"].abs()) * w["w2"].norm(dim=1)
        return gamma(2 * D + len(mass) + 16, u) * (float(mass.sum()) + float(w["b2"].norm()))
    assert isinstance(module, SelfAttention)
    heads, _, E = module.query.shape
    N, total = h.shape[-2], 0.0
    for head in range(heads):
        a, b, c, o = (float(w[name][head].norm()) for name in ("query", "key", "value", "output"))
        score = eta**2 * a * b * module.shape.score_scale
        log_weight = 2 * gamma(2 * D + E + 2, u) * score + 4 * u * score + gamma(4 * N + 10, u)
        total += math.expm1(log_weight + gamma(D + N + E * heads + 2, u)) * eta * c * o
    return total
