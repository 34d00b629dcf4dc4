"""EM of one data set with missing values, a noise component, or both.

    p(x) = pi_0 / V_o + sum_k pi_k N(x_o; mu_k, S_k,oo)

V_o is the volume of the box of the data in the observed coordinates; without noise pi_0 = 0 and the pi_k sum
to 1, else pi_0 + sum_k pi_k = 1. The M step is that of `em_steps.update` on the moments of `conditional`, and
pi_0 is the share of the points that fall to the noise.
Source: Banfield and Raftery 1993; Fraley and Raftery 1998 for the noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines import gaussian
from baselines.em import Status
from baselines.em_steps import Moments, Update, update
from baselines.families.names import Family
from baselines.families.restrict import restrict
from baselines.incomplete.conditional import Observed, conditionals, log_densities, moments
from baselines.mixture import Mixture


@dataclass(frozen=True, eq=False)
class IncompleteFit:
    """One run: mixture (weights summing to 1), noise pi_0, history of the log-likelihood per point after 0
    to n_iter steps, status, and the component that failed, else -1."""

    mixture: Mixture
    noise: float
    history: list[float]
    status: Status
    component: int

    @property
    def log_likelihood(self) -> float:
        """Per point, at the mixture."""
        return self.history[-1]

    @property
    def n_iter(self) -> int:
        """Steps taken."""
        return len(self.history) - 1


def log_joint(points: Observed, mixture: Mixture, noise: float, log_noise: Tensor | None) -> Tensor:
    """log of pi_k N(x_o; mu_k, S_k,oo), and in a last row of pi_0 / V_o where log_noise (N,) is given."""
    given = conditionals(points.patterns, dense(mixture))
    shares = mixture.weights.log() if log_noise is None else (mixture.weights * (1 - noise)).log()
    joint = shares.unsqueeze(-1) + log_densities(points, mixture.means, given)
    if log_noise is None:
        return joint
    weight = torch.tensor(noise, dtype=joint.dtype).log()
    return torch.cat([joint, (weight + log_noise).unsqueeze(0)])


def dense(mixture: Mixture) -> Tensor:
    """The covariances as matrices, (K, d, d)."""
    (K, d), covariances = mixture.means.shape, mixture.covariances
    identity = torch.eye(d, dtype=mixture.means.dtype)
    if mixture.covariance_type in ("tied", "full") and covariances is not None:
        return covariances.expand(K, d, d)
    if mixture.covariance_type == "diagonal" and covariances is not None:
        return torch.diag_embed(covariances)
    variances = gaussian.isotropic_variances(covariances, mixture.weights, mixture.covariance_type)
    return variances[:, None, None] * identity


def run_incomplete(
    points: Observed,
    weight: Tensor,
    start: Mixture,
    family: Family,
    noise: float,
    log_noise: Tensor | None,
    max_iter: int,
    tol: float,
    reg_covar: float,
) -> IncompleteFit:
    """EM from `start` and pi_0 = noise; points about their centre, weights (N,) > 0; it ends as `run_em`."""
    total = weight.sum()
    current, share, history = start, noise, []
    status, component = Status.MAX_ITER, -1
    for step in range(max_iter + 1):
        joint = log_joint(points, current, share, log_noise)
        density = joint.logsumexp(0)
        history.append(float((weight * density).sum() / total))
        if not torch.isfinite(density).all():
            return IncompleteFit(current, share, history, Status.OVERFLOW, component)
        if status == Status.CONVERGED or step == max_iter:
            break
        if step and abs(history[-1] - history[-2]) < tol:
            status = Status.CONVERGED  # the step that follows is the one that met tol, as in run_em
        responsibilities = (joint - density).exp() * weight
        new = _m_step(points, current, responsibilities[: current.n_components], family, reg_covar)
        failed = _failure(new)
        if failed is not None:
            return IncompleteFit(current, share, history, *failed)
        if log_noise is not None:
            share = float(responsibilities[-1].sum() / total)
        current = Mixture(new.weights, new.means, new.covariances, family.layout)
    return IncompleteFit(current, share, history, status, component)


def _m_step(points: Observed, current: Mixture, shares: Tensor, family: Family, reg_covar: float) -> Update:
    given = conditionals(points.patterns, dense(current))
    sums = _of_layout(moments(points, current.means, given, shares), family.layout)
    new = update(sums, current.means, sums.total.sum(), family.layout, reg_covar)
    return restrict(new, family.name) if family.restricted else new


def _of_layout(sums: Moments, layout: str) -> Moments:
    """The second moments that `update` takes: traces, diagonals or matrices."""
    if layout in ("tied", "full"):
        return sums
    diagonal = sums.second.diagonal(dim1=-2, dim2=-1)
    return sums._replace(second=diagonal if layout == "diagonal" else diagonal.sum(-1))


def _failure(new: Update) -> tuple[Status, int] | None:
    for status, bad in ((Status.EMPTY, new.empty), (Status.SINGULAR, new.singular)):
        if bad.any():
            return status, int(bad.long().argmax())
    return None
