"""The learned subspace: what is exchanged, where the search starts, what learning does."""

import torch

from training.comparison.finding.rotation import (
    coordinates,
    decoder_directions,
    encoder_directions,
    learned,
    put_in,
)

D, WIDTH, ROWS = 7, 2, 300


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def turn(seed: int = 3) -> torch.Tensor:
    return torch.linalg.qr(normal(D, D, seed=seed)).Q


def overlap(V: torch.Tensor, W: torch.Tensor) -> float:
    """1 for one subspace, 0 for orthogonal ones."""
    return float((V.mT @ W).square().sum() / V.shape[1])


def test_put_in_takes_the_part_of_the_source():
    base, source = normal(4, 3, D, seed=1), normal(4, 3, D, seed=2)
    V = turn()[:, :WIDTH]
    mixed = put_in(base, source, V)
    assert torch.allclose(mixed @ V, source @ V)
    rest = turn()[:, WIDTH:]
    assert torch.allclose(mixed @ rest, base @ rest)


def planted(dependent: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """A stream whose first columns are the variable, beside one that goes along with it and one constant."""
    H = normal(ROWS, D)
    Y = H[:, :WIDTH].clone()
    H[:, 3] = H[:, 0] + 0.5 * H[:, 3]
    H[:, 6] = 1.0
    return H, torch.cat([Y, Y.sum(1, keepdim=True)], 1) if dependent else Y


def test_decoder_directions_find_what_is_planted_also_in_a_turned_stream():
    H, Y = planted()
    own = coordinates(D, range(WIDTH), H.dtype)
    assert overlap(decoder_directions(H, Y), own) > 0.999
    assert overlap(decoder_directions(H @ turn(), Y), turn().mT @ own) > 0.999
    assert overlap(decoder_directions(H @ turn(), Y), own) < 0.9  # the control: not where it was before


def test_encoder_directions_are_those_along_which_the_stream_moves():
    H, Y = planted()
    moves = torch.zeros(D, WIDTH, dtype=H.dtype)
    moves[0, 0] = moves[3, 0] = 0.5**0.5
    moves[1, 1] = 1.0
    assert overlap(encoder_directions(H, Y), moves) > 0.98
    assert overlap(decoder_directions(H, Y), moves) < 0.9


def test_dependent_directions_are_filled_with_what_does_not_vary():
    H, Y = planted(dependent=True)
    V = decoder_directions(H, Y)
    assert torch.allclose(V.mT @ V, torch.eye(WIDTH + 1, dtype=H.dtype))
    constant = coordinates(D, [6], H.dtype)
    assert overlap(constant, V) > 0.999


def test_learning_goes_to_the_best_subspace():
    wanted = coordinates(D, range(WIDTH), torch.float64)
    base, source = normal(64, 1, D, seed=1), normal(64, 1, D, seed=2)
    target = put_in(base, source, wanted)

    def distances(V: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        return (put_in(base[pairs], source[pairs], V) - target[pairs]).square().sum((1, 2))

    everything = torch.arange(64)
    near = torch.linalg.qr(wanted + 0.1 * normal(D, WIDTH, seed=4)).Q
    far = turn()[:, :WIDTH]
    found = learned([far, near], distances, 64, 60, generator())
    assert torch.allclose(found.mT @ found, torch.eye(WIDTH, dtype=found.dtype))
    before = float(distances(near, everything).mean())
    assert before > 0.01
    assert float(distances(found, everything).mean()) < 0.1 * before
    assert torch.equal(learned([far, wanted], distances, 64, 5, generator()), wanted)  # never worse


def test_what_is_not_finite_is_not_learned_from():
    start = coordinates(D, range(WIDTH), torch.float64)

    def distances(V: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        return V.sum() * torch.full((len(pairs),), torch.nan, dtype=torch.float64)

    assert torch.equal(learned([start], distances, 30, 5, generator()), start)
