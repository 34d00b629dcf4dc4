"""EM layers behind the network: the construction to the bit, EM within its proved bounds, their gradients."""

import math
import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from model_instances import points, prefix_mask, rounding_tolerance, small_model, terms
from torch import Tensor

import training.model.polish as polish_module
from baselines.em import em
from baselines.mixture import Mixture
from constructions import EMRun
from constructions.em.bounds import one_step_bound
from constructions.em.path_bounds import path_bound
from constructions.em.step_rounding import StepData
from constructions.em.unit import EMConstruction
from constructions.language.readout import SHARPNESS
from constructions.language.rounding import gamma
from training.model.polish import Polish
from training.model.tgmm import TGMM

U = 2.0**-53
MOST_COMPONENTS = 4
LENGTHS = (24, 15, 9)


@dataclass(frozen=True, eq=False)
class Case:
    """Tasks of one K: X (B, N, 2), NaN at padding, and a start."""

    X: Tensor
    mask: Tensor
    log_weights: Tensor
    means: Tensor

    def task(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Points (n, 2), weights (K,) and means (K, 2) of one task."""
        # exp of the whole batch, as the layers take it: the exp of one row may be rounded otherwise
        return self.X[index, self.mask[index]], self.log_weights.exp()[index], self.means[index]

    @property
    def radii(self) -> list[float]:
        """Of each task the smallest power of two from 8 on that no coordinate exceeds."""
        found = []
        for index in range(len(self.X)):
            X, _, means = self.task(index)
            largest, radius = float(max(X.abs().max(), means.abs().max())), 8.0
            while radius < largest:
                radius *= 2
            found.append(radius)
        return found

    @property
    def radius(self) -> float:
        """The one of all tasks."""
        (radius,) = set(self.radii)
        return radius


def make_case(K: int, spread: float = 2.5) -> Case:
    """The first of some random cases whose tasks have one radius, and so one set of weights."""
    return next(
        case for case in (random_case(K, spread, s) for s in range(1000)) if len(set(case.radii)) == 1
    )


def random_case(K: int, spread: float, seed: int) -> Case:
    """Unit clusters around centres of deviation ``spread``, started half a deviation from the truth."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    B, N = len(LENGTHS), max(LENGTHS)
    centres = spread * normal(B, K, 2)
    labels = torch.arange(N).expand(B, N) % K
    X = centres.gather(1, labels[:, :, None].expand(-1, -1, 2)) + normal(B, N, 2)
    mask = prefix_mask(N, *LENGTHS)
    # Weights whose floating-point sum is 1, so that EMConstruction.run, which divides by it, changes no bit.
    candidates = (0.5 * normal(2000, K)).log_softmax(-1)
    padded = torch.nn.functional.pad(candidates.exp(), (0, MOST_COMPONENTS - K))
    log_weights = candidates[padded.sum(-1) == 1][:B]
    return Case(
        X.masked_fill(~mask[:, :, None], float("nan")), mask, log_weights, centres + 0.5 * normal(B, K, 2)
    )


def constructed(em_layers: EMConstruction, case: Case) -> EMRun:
    """The same steps by EMConstruction.run, task by task in a list."""
    X, weights, means = zip(*(case.task(i) for i in range(len(case.X))), strict=True)
    return em_layers.run(list(X), list(weights), list(means))


def construction_errors(polish: Polish, case: Case) -> list[str]:
    """Where EM layers are not what EMConstruction.run computes from the same start."""
    run = constructed(polish.construction(case.radius), case)
    log_weights, means = polish(case.X, case.log_weights, case.means, case.mask)
    broken = [] if torch.equal(means, run.means) else ["means"]
    # One is log_softmax(z), the other softmax(z), z in [log floor, 0]: K exponentials within 2 ulp, their
    # sum, a quotient or logarithm, and z - max z once more.
    limit = gamma(4 * log_weights.shape[1] + 12, U) * (1 - 2 * torch.tensor(1e-8).log())
    if not ((log_weights - run.weights.log()).abs() <= limit).all():
        broken.append("weights")
    return broken


CASES = [(1, 1, 2.5), (2, 3, 2.5), (3, 2, 2.5), (4, 1, 2.5), (3, 2, 10.0), (2, 2, 40.0), (4, 3, 160.0)]
"""K, L, spread: K up to K0 = 4, and data up to radius 512; unit clusters stay unit clusters."""


@pytest.mark.parametrize(("K", "steps", "spread"), CASES)
@torch.no_grad()
def test_polish_is_the_construction_to_the_bit(K: int, steps: int, spread: float) -> None:
    assert construction_errors(Polish(2, MOST_COMPONENTS, steps, 32), make_case(K, spread)) == []


@torch.no_grad()
def test_the_network_and_its_em_layers_are_the_network_then_the_construction() -> None:
    """TGMM(polish_steps) is EMConstruction.run from the estimate of network(...).

    To the bit, in the tasks whose estimated weights have the floating-point sum 1 that run divides by.
    """
    model = small_model(None, 2, pieces=32, components=(2, 3, MOST_COMPONENTS))
    X, mask = points(24, 12, 2), prefix_mask(12, *range(12, 4, -1), *range(12, 4, -1), *range(12, 4, -1))
    start = model.network(X, 3, mask)
    case = Case(X, mask, start.log_weights, start.means)
    run, found = constructed(model.polish.construction(case.radius), case), model(X, 3, mask)
    exact = torch.nn.functional.pad(start.log_weights.exp(), (0, 1)).sum(-1) == 1
    assert exact.sum() >= 3
    assert torch.equal(found.means[exact], run.means[exact])
    assert ((found.means - start.means).abs() > 0.1).any()


@pytest.mark.parametrize(("K", "steps", "spread"), CASES)
@torch.no_grad()
def test_polish_is_em_within_the_proved_bound(K: int, steps: int, spread: float) -> None:
    assert em_errors(Polish(2, MOST_COMPONENTS, steps, 512), make_case(K, spread)) == []


def em_errors(polish: Polish, case: Case, claims: int = len(LENGTHS)) -> list[str]:
    """Where EM layers are farther from baselines.em than path_bound allows.

    The bound covers the pieces, the rounding of the layers and that of a float64 reference that subtracts no
    centre, which is worse than that of baselines.em (constructions.em.bounds, lemma 6). It is about the
    stream; the read-out takes the weights as the softmax of log pi - e_k, e_k in [0, e] the error of the
    chords, so each by a factor within exp(+-e) of the stream's, and leaks N exp(-SHARPNESS) of other slots.
    The bound must claim something for ``claims`` tasks: finite to the last step.
    """
    K = case.means.shape[1]
    layers = polish.construction(case.radius)
    run = constructed(layers, case)
    bound = path_bound(
        layers,
        case.X.masked_fill(~case.mask[:, :, None], 0.0),
        case.mask,
        run.path_weights,
        run.path_means,
        torch.ones(len(case.X), K, dtype=torch.bool),
        run.n_features,
    )
    chords = layers.log_pi.approximation_error + 2 * layers.log_pi.rounding_error(torch.float64)
    log_weights, means = polish(case.X, case.log_weights, case.means, case.mask)
    broken = [] if int(bound.holds[:, -1].sum()) >= claims else ["the bound claims nothing"]
    for task in range(len(case.X)):
        X, weights, start = case.task(task)
        expected = em(X, init=Mixture(weights, start), max_iter=polish.steps, tol=0)
        assert int(expected.n_iter) == polish.steps
        if not bound.holds[task, -1]:
            continue
        leak = len(X) * math.exp(-SHARPNESS)
        mean_limit = bound.mean[task, -1] + leak * 4 * case.radius
        # |log pi| < 20
        factor = math.expm1(chords + 40 * leak)
        weight_limit = bound.weight[task, -1] + run.path_weights[task, -1] * factor
        mean_error = (means[task] - expected.mixture.means).norm(dim=-1)
        weight_error = (log_weights[task].exp() - expected.mixture.weights).abs()
        if not (mean_error <= mean_limit).all():
            broken.append(f"means of task {task}: {mean_error.tolist()} > {mean_limit.tolist()}")
        if not (weight_error <= weight_limit).all():
            broken.append(f"weights of task {task}: {weight_error.tolist()} > {weight_limit.tolist()}")
    return broken


@torch.no_grad()
def test_a_far_point_in_one_task_leaves_the_others_alone() -> None:
    """Layers of radius 512 in 32 pieces are of no use near the origin; tasks there keep theirs of 8.

    The sums are of at most 24 points and 96 pieces in another order: 200 u times coordinates up to 8,
    and the steps carry them on by factors near 1.
    """
    case, polish = make_case(3), Polish(2, MOST_COMPONENTS, 2, 32)
    assert case.radius == 8
    expected = polish(case.X, case.log_weights, case.means, case.mask)
    X = case.X.clone()
    X[1, 0] = 500.0
    found = polish(X, case.log_weights, case.means, case.mask)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[[0, 2]], other[[0, 2]], rtol=0, atol=1e-11)
        assert ((one - other)[1].abs() > 1e-3).any()
    assert sorted(key[0] for key in polish._compiled) == [8.0, 512.0]


@torch.no_grad()
def test_points_in_any_places_of_the_sequence() -> None:
    """A mask with holes, the first point missing: the points are those of the prefix, to the bit."""
    case, polish = make_case(3), Polish(2, MOST_COMPONENTS, 2, 32)
    N = case.X.shape[1]
    mask = torch.stack([torch.arange(N) >= N - n if n < N else torch.ones(N).bool() for n in LENGTHS])
    mask[2] = False
    mask[2, 1:19:2] = True
    X = torch.full_like(case.X, float("inf"))
    X[mask] = case.X[case.mask]
    for one, other in zip(
        polish(X, case.log_weights, case.means, mask),
        polish(case.X, case.log_weights, case.means, case.mask),
        strict=True,
    ):
        assert torch.equal(one, other)


# --- the same checks fail for wrong layers ----------------------------------------------------------------


def pad_in_front(values: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Absent components before the real ones."""
    return torch.nn.functional.pad(
        values, tuple(w for pair in zip(widths[1::2], widths[::2], strict=True) for w in pair)
    )


@torch.no_grad()
def test_components_padded_in_front_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish_module, "functional", SimpleNamespace(pad=pad_in_front))
    polish = Polish(2, MOST_COMPONENTS, 2, 512)
    for check in (construction_errors, em_errors):
        assert check(polish, make_case(3)) != []
        assert check(polish, make_case(MOST_COMPONENTS)) == []  # nothing to pad


@torch.no_grad()
def test_a_dropped_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With zeros, as NaN would show by itself."""
    case, polish = make_case(3), Polish(2, MOST_COMPONENTS, 2, 512)
    case = Case(case.X.nan_to_num(0.0), case.mask, case.log_weights, case.means)
    assert construction_errors(polish, case) == em_errors(polish, case) == []
    forward = Polish.forward
    monkeypatch.setattr(Polish, "forward", lambda self, X, w, m, mask: forward(self, X, w, m, None))
    assert construction_errors(polish, case) != []
    assert em_errors(polish, case) != []


@torch.no_grad()
def test_swapped_results_of_the_em_layers_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """TGMM puts what Polish returns into the fields of an Estimate by its order."""
    model, X = small_model(None, 1, components=(2,)), points(2, 9, 2)
    network, found = model.network(X, 2), model(X, 2)
    direct = model.polish(X, network.log_weights, network.means, None)
    assert torch.equal(found.log_weights, direct[0])
    assert torch.equal(found.means, direct[1])
    forward = Polish.forward
    monkeypatch.setattr(Polish, "forward", lambda self, *given: forward(self, *given)[::-1])
    assert not torch.equal(model(X, 2).log_weights, direct[0])
    with pytest.raises(ValueError, match="means"):
        model.estimate(X, 2)


# --- radius -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("largest", "radius"),
    [
        (0.0, 8),
        (7.9, 8),
        (8.0, 8),
        (8.0 * (1 + 2 * U), 16),
        (16.0, 16),
        (1000.0, 1024),
        (1024.0 * (1 + 2 * U), 2048),  # log2 of it rounds to 10
    ],
)
@pytest.mark.parametrize("where", ["point", "mean", "negative", "padding"])
def test_the_radius_is_the_smallest_power_of_two_that_holds_points_and_means(
    largest: float, radius: int, where: str
) -> None:
    X, means = torch.zeros(1, 5, 1, dtype=torch.float64), torch.zeros(1, 2, 1, dtype=torch.float64)
    log_weights = torch.full((1, 2), 0.5, dtype=torch.float64).log()
    (means if where == "mean" else X)[0, 1] = -largest if where == "negative" else largest
    mask = torch.tensor([[True, where != "padding", True, True, True]])
    polish = Polish(1, 2, 1, 4)
    polish(X, log_weights, means, mask)
    assert [key[0] for key in polish._compiled] == [8.0 if where == "padding" else radius]


def test_layers_are_compiled_once_for_a_radius_and_a_dtype() -> None:
    polish, case = Polish(2, MOST_COMPONENTS, 1, 4), make_case(2)
    for _ in range(2):
        polish(case.X, case.log_weights, case.means, case.mask)
    assert len(polish._compiled) == 1
    polish(*(v.float() for v in (case.X, case.log_weights, case.means)), case.mask)
    wide = Case(4 * case.X, case.mask, case.log_weights, case.means)
    polish(wide.X, case.log_weights, case.means, case.mask)
    wanted = {(case.radius, torch.float64), (case.radius, torch.float32)}
    assert {key[:2] for key in polish._compiled} == wanted | {
        (radius, torch.float64) for radius in wide.radii
    }


# --- refusals ---------------------------------------------------------------------------------------------


def test_fewer_points_than_components_are_refused() -> None:
    model, X = small_model(None, 1), points(2, 6, 2)
    with pytest.raises(ValueError, match="a task has 2 points, EM layers need at least K = 3 of them"):
        model(X, 3, prefix_mask(6, 6, 2))
    with pytest.raises(ValueError, match="a task has 2 points, EM layers need at least K = 3"):
        model.estimate(X[:, :2], 3)
    assert model(X, 2, prefix_mask(6, 6, 2)).means.isfinite().all()
    assert model.with_polish(0)(X, 3, prefix_mask(6, 6, 2)).means.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["point", "mean"])
def test_values_that_are_not_finite_are_refused(value: float, where: str) -> None:
    polish, case = Polish(2, MOST_COMPONENTS, 1, 4), make_case(2)
    (case.X if where == "point" else case.means)[1, 0, 0] = value
    with pytest.raises(ValueError, match=f"a coordinate of a point .* has size {value}"):
        polish(case.X, case.log_weights, case.means, case.mask)


@pytest.mark.parametrize(("steps", "pieces"), [(0, 8), (-1, 8), (1, 0), (1.5, 8), (True, 8)])
def test_steps_and_pieces_are_whole_numbers_from_one(steps: int, pieces: int) -> None:
    with pytest.raises(ValueError, match=r"polish_(steps|pieces)"):
        Polish(2, 3, steps, pieces)


# --- parameters, dtypes, gradients ------------------------------------------------------------------------


def test_a_polish_can_be_pickled_after_use_and_takes_autocast() -> None:
    polish, case = Polish(2, MOST_COMPONENTS, 1, 4), make_case(2)
    given = [v.float() for v in (case.X, case.log_weights, case.means)]
    before = polish(*given, case.mask)
    copied = pickle.loads(pickle.dumps(polish))  # noqa: S301
    for one, other in zip(before, copied(*given, case.mask), strict=True):
        assert torch.equal(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(part.isfinite().all() for part in polish(*given, case.mask))
    assert polish(case.X, case.log_weights * torch.nan, case.means, case.mask)[1].isnan().any()


def test_em_layers_hold_no_parameters_and_nothing_to_save() -> None:
    model = small_model(None, 2)
    model(points(2, 9, 2), 2)
    plain = model.with_polish(0)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert list(model.buffers()) == []
    assert len(model.polish._compiled) == 1


@torch.no_grad()
def test_a_model_moved_to_another_dtype_is_a_model_of_that_dtype() -> None:
    model, X, mask = small_model(None, 2).float(), points(2, 9, 2).float(), prefix_mask(9, 9, 5)
    single = model(X, 2, mask)
    assert single.means.dtype == single.log_weights.dtype == torch.float32
    expected = small_model(None, 2)
    expected.load_state_dict(model.state_dict())
    moved = model.double()(X.double(), 2, mask)
    assert moved.means.dtype == torch.float64
    assert torch.equal(moved.means, expected(X.double(), 2, mask).means)
    assert torch.equal(model.float()(X, 2, mask).means, single.means)


def test_gradients_reach_every_parameter_through_the_layers() -> None:
    """In float32, as in training."""
    model = small_model(None, 2, components=(2, 3)).float()
    for K in (2, 3):
        terms(model(points(3, 9, 2).float(), K, prefix_mask(9, 9, 5, 4))).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def gradient_error(model: TGMM, X: Tensor, K: int, mask: Tensor) -> tuple[float, float, float]:
    """Autograd's directional derivative less the central difference; how large that may be; the derivative.

    D(h) = (f(h) - f(-h)) / 2h errs by c h^2 + O(h^4), so D(h/2) by (D(h) - D(h/2)) / 3, and by rounding
    2 E / h if f errs by E; D(h) and D(h/2) in the first term add E / h. f is smooth between kinks of its
    pieces; a kink in the way makes D(h) and D(h/2) differ and the limit large, which the caller refuses.
    E: the network's rounding, to first order through the layers, and that of one EM step (lemma 6).
    """
    generator = torch.Generator().manual_seed(3)
    E = rounding_tolerance(model, lambda: terms(model(X, K, mask)))
    gradients = torch.autograd.grad(
        terms(model(X, K, mask)).sum(), list(model.parameters()), allow_unused=True
    )
    E += step_rounding(model, X, K, mask)
    start = [p.detach().clone() for p in model.parameters()]
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in start]
    exact = sum(float((g * v).sum()) for g, v in zip(gradients, direction, strict=True) if g is not None)

    def f(t: float) -> float:
        with torch.no_grad():
            for p, at, v in zip(model.parameters(), start, direction, strict=True):
                p.copy_(at + t * v)
            return float(terms(model(X, K, mask)).sum())

    h = 1e-5
    coarse, fine = ((f(t) - f(-t)) / (2 * t) for t in (h, h / 2))
    f(0.0)
    return abs(exact - fine), abs(coarse - fine) + 3 * E / h, abs(exact)


@torch.no_grad()
def step_rounding(model: TGMM, X: Tensor, K: int, mask: Tensor) -> float:
    """Rounding of one EM step in the sum of terms, whose coefficients are at most 1."""
    estimate = model.network(X, K, mask)
    emptied = X.masked_fill(~mask[:, :, None], 0.0)
    case = Case(emptied, mask, estimate.log_weights, estimate.means)
    present = torch.ones(len(X), K, dtype=torch.bool)
    features = torch.full((len(X),), X.shape[-1])
    data = StepData(emptied, mask, estimate.log_weights.exp(), estimate.means, present, features, False)
    bound = one_step_bound(model.polish.construction(case.radius), data)
    relative = bound.weight_rounding / bound.exact_weights
    return float(X.shape[-1] ** 0.5 * bound.mean_rounding.sum() + 2 * relative.sum())


def test_gradients_agree_with_finite_differences() -> None:
    model = small_model(None, 1, pieces=16)
    error, limit, size = gradient_error(model, points(3, 9, 2), 3, prefix_mask(9, 9, 5, 4))
    assert error <= limit
    assert limit < 1e-3 * size


def test_gradients_that_stop_at_the_layers_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Polish.forward
    monkeypatch.setattr(
        Polish, "forward", lambda self, X, w, means, mask: forward(self, X, w, means.detach(), mask)
    )
    model = small_model(None, 1, pieces=16)
    error, limit, _ = gradient_error(model, points(3, 9, 2), 3, prefix_mask(9, 9, 5, 4))
    assert error > limit
