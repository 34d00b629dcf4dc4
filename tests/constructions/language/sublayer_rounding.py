"""How far two floating-point evaluations of one sub-layer can be apart when they are equal in real numbers.

The two may differ in the order of tokens, in padding, in how a batch is cut, and by an orthogonal change of
basis Q of the stream (H -> H Q, and the weights with it). u is the unit roundoff, gamma_n the
n u/(1 - n u) of Higham, Lemma 3.1, D the stream width, E the head dimension, N the number of tokens and
eta = max_i |h_i|_2.

Every entry that is read first passes at most two products with Q (the state's and the weight's) and one
product of length D. For a product of length D with rows x, columns y the error is at most gamma_D |x|.|y|,
and | |x| |Q| | <= sqrt(D) |x| since |Q|_2 <= |Q|_F = sqrt(D). If |Q^T Q - I|_2 <= delta, real arithmetic adds
delta. So each such entry carries a relative error (against the product of norms) of at most

    eps = (2 sqrt(D) + 1) gamma_{D + 2} + delta,

two sums of D, one more for the bias and one for the residual. Products of factors 1 + eps_i are at most
exp(sum eps_i), hence the expm1 below. Two evaluations each have this error: twice the bound.
"""

import copy
import math

import torch
from torch import Tensor

from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.transformer import MLP, SelfAttention


def basis_defect(Q: Tensor) -> float:
    """Bound on |Q^T Q - I|_2: the computed Frobenius norm plus the rounding of computing it.

    Each of D^2 entries of Q^T Q is a sum of D products of columns of norm at most 1 + defect: gamma_{D+1},
    so D gamma_{D+1} in the Frobenius norm.
    """
    D, u = len(Q), unit_roundoff(Q.dtype)
    computed = float(torch.linalg.matrix_norm(Q.mT @ Q - torch.eye(D, dtype=Q.dtype)))
    return computed * (1 + gamma(D * D + 2, u)) + 2 * D * gamma(D + 1, u)


def attention_tolerance(
    module: SelfAttention, h: Tensor, defect: float = 0.0, mask: Tensor | None = None
) -> float:
    """Largest distance |.|_2 of one token's output between two evaluations; h (B, N, D) holds real tokens.

    With ``mask`` (B, N), True at real tokens, which a norm of the output needs, h is 0 at the others.

    Scores: |s^ - s| <= sigma = expm1(2 eps + gamma_E) a b with a = eta |W_Q|_F, b = eta |W_K|_F.
    Softmax: log of a weight off by 2 sigma from the scores, 2u * 2ab from subtracting the maximum, and
    gamma_{4N+10} for N exponentials within two ulp (4u), N sums, the division and the rescaling of a blocked
    kernel. An exponential that underflows is off by less than the smallest normal number, N of them.
    ReLU: the score's own error, times N values; divided by the number of tokens, at most one value in all,
    and one rounding more.
    Then the value, its sum over N, and W_O over the heads, each with its eps or gamma.
    A norm of the output: see :func:`norm_tolerance`.
    """
    u = unit_roundoff(h.dtype)
    heads, D, E = module.query.shape
    N, eta = h.shape[-2], float(h.norm(dim=-1).max())
    eps = (2 * math.sqrt(D) + 1) * gamma(D + 2, u) + defect
    total = 0.0
    for head in range(heads):
        a, b, c, o = (
            float(torch.linalg.matrix_norm(weight[head].detach()))
            for weight in (module.query, module.key, module.value, module.output)
        )
        scores = eta**2 * a * b * abs(module.shape.score_scale)
        carried = 3 * eps + gamma(N + 2, u) + gamma(E * heads + 2, u)
        if module.kind == "softmax":
            sigma = math.expm1(2 * eps + gamma(E + 2, u)) * scores
            weights = 2 * sigma + 4 * u * scores + gamma(4 * N + 10, u)
            lost = N * torch.finfo(h.dtype).tiny
            total += (math.expm1(weights + carried) + lost) * eta * c * o
        else:
            divided = module.shape.divide_by_tokens
            error = math.expm1(2 * eps + gamma(E + 2, u) + carried + divided * gamma(1, u))
            total += (1 if divided else N) * error * scores * eta * c * o
    if isinstance(module.norm, torch.nn.RMSNorm):
        return norm_tolerance(module, h, 2 * total, defect, mask)
    return 2 * total


def norm_tolerance(
    module: SelfAttention, h: Tensor, distance: float, defect: float, mask: Tensor | None
) -> float:
    """The same behind an RMS norm, of two arguments w, w' that are at most ``distance`` apart.

    In real numbers it is g sqrt(D) w / |w|, and | w/|w| - w'/|w'| | <= 2 |w - w'| / (|w| + |w'|), at most
    distance / min(|w|, |w'|): the error is divided by the length of the output before the norm, least over
    real tokens. Its rounding: D squares, their sum, mean, root (two ulp), gain and two products,
    gamma_{D + 10} either time; rounded coordinates and a basis that is not quite orthogonal are a defect of
    the length, counted as such.
    """
    u, D = unit_roundoff(h.dtype), h.shape[-1]
    bare = copy.deepcopy(module)
    bare.norm = torch.nn.Identity()
    with torch.no_grad():
        lengths = bare(h, mask).norm(dim=-1)
    least = float((lengths if mask is None else lengths[mask]).min()) - distance
    if not least > 0:
        raise ValueError(
            f"outputs differ by up to {distance:.2e}, and the shortest is no longer: no direction"
        )
    gain = float(module.norm.weight.detach().abs().max()) * math.sqrt(D)
    return gain * (distance / least + 2 * gamma(D + 10, u) + 2 * defect)


def mlp_tolerance(module: MLP, h: Tensor, defect: float = 0.0) -> float:
    """The same for the MLP with ReLU, which is 1-Lipschitz.

    A hidden unit is at most z_m = eta |w1_m|_2 + |b1_m| and off by eps z_m; H of them are summed with rows
    w2_m of W_2: sum_m z_m |w2_m|_2 expm1(2 eps + gamma_{H+2}), and b_2 has the error of one product with Q.
    """
    u = unit_roundoff(h.dtype)
    D, H = module.w1.shape
    eta = float(h.norm(dim=-1).max())
    eps = (2 * math.sqrt(D) + 1) * gamma(D + 2, u) + defect
    w1, b1, w2, b2 = (weight.detach() for weight in (module.w1, module.b1, module.w2, module.b2))
    mass = float(((eta * w1.norm(dim=0) + b1.abs()) * w2.norm(dim=1)).sum())
    return 2 * math.expm1(2 * eps + gamma(H + 2, u)) * (mass + float(b2.norm()))


def saturated_gradient_tolerance(module: SelfAttention, h: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """What rounding leaves in the gradients of W_Q and W_K where every weight is 0 or 1 in floats.

    (heads, D, E) each. h (B, N, D) holds real tokens and 0 elsewhere, ``gradient`` (B, N, D) is that of the
    sum of the heads. In real numbers the gradient of a score is p_j (g.v_j - sum_i p_i g.v_i), which is 0
    where p is 1 at one token s and 0 at the others. In floats the two terms at s are one inner product of E
    terms, g.v_s, in two orders (a kernel may take the second one as g.output): at most 2 gamma_E |g|.|v_s|
    apart, and elsewhere p_j = 0.
    Token n adds that times |scale| |h_n| |k_s| to W_Q and times |scale| |h_s| |q_n| to W_K; s may be any.
    Rounding of q, k, v (D terms), g (D) and of the sum over B N tokens: a factor 1 + gamma either time.
    """
    u, scale = unit_roundoff(h.dtype), abs(module.shape.score_scale)
    H, (D, E) = h.abs(), module.query.shape[1:]
    q, k, v = (
        torch.einsum("bnd,hde->bhne", H, weight.detach().abs())
        for weight in (module.query, module.key, module.value)
    )
    g = torch.einsum("bnd,hed->bhne", gradient.abs(), module.output.detach().abs())
    rounded = 1 + gamma(4 * D + H.shape[0] * H.shape[1] + 8, u)
    apart = 2 * gamma(E, u) * (g @ v.mT).amax(-1) * scale * rounded
    queries = torch.einsum("bnd,bhn,bhe->hde", H, apart, k.amax(-2))
    return queries, torch.einsum("bd,bhn,bhne->hde", H.amax(-2), apart, q)
