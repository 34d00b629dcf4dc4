"""Tasks of a box, and how far the construction is from EM on them: in floats, many; in balls, one at a time.

The ball version shares nothing with verify.certify.regions: hinges are added up one by one.
"""

import numpy as np
import torch
from flint import arb, ctx

BITS = 200


def drawn(rng, N, d, K, spread=2.0):
    """Points about random centres; weights from 0.05 up; means at points."""
    centres = spread * rng.standard_normal((K, d))
    X = (centres[np.arange(N) % K] + rng.standard_normal((N, d))).clip(-11, 11)
    weights = 0.05 + rng.random(K)
    return X, weights / weights.sum(), X[rng.permutation(N)[:K]]


def members(rng, box, count):
    """(count, ...) points, weights and means in the box: at random, at vertices, moved as one."""
    found = []
    for part in (box.points, box.weights, box.means):
        shape = (count, *part.shape)
        along = rng.random(shape)
        along[count // 3 :] = rng.integers(0, 2, shape)[count // 3 :]
        if part is box.points:
            one = rng.integers(0, 2, (count, 1, part.shape[1]))
            along[2 * count // 3 :] = np.broadcast_to(one, shape)[2 * count // 3 :]
        found.append((part.lo + along * (part.hi - part.lo)).clip(part.lo, part.hi))
    return found


def float_distances(em, X, weights, means, steps):
    """(B,) the largest distance of a mean or weight after the last step, in float64."""
    X, weights, means = (torch.as_tensor(v) for v in (X, weights, means))

    def attended(log_weights, half_norms):
        return torch.softmax(X @ half_norms[0].mT + (log_weights - half_norms[1])[:, None], -1)

    exact, made = (weights, means), (weights, means)
    for step in range(steps):
        w = attended(exact[0].log(), (exact[1], exact[1].square().sum(-1) / 2))
        squares = em.square(made[1]) if step else made[1].square()
        v = attended(em.log_pi(made[0]) if step else made[0].log(), (made[1], squares.sum(-1) / 2))
        u = em.log_resp(v).exp()
        exact = w.mean(1), w.mT @ X / w.sum(1)[..., None]
        made = v.mean(1), u.mT @ X / u.sum(1)[..., None]
    apart = torch.maximum((made[1] - exact[1]).norm(dim=-1), (made[0] - exact[0]).abs())
    return apart.amax(-1).numpy()


def hinge_sum(f, x):
    total = arb(f.offset)
    for c, s, t in zip(f.hinge_weights.tolist(), f.hinge_signs.tolist(), f.hinge_knots.tolist(), strict=True):
        y = arb(s) * (x - arb(t))
        total += arb(c) * (y + abs(y)) / 2
    return total


def ball_distances(em, X, weights, means, steps):
    """[mean, weight] distances (K,) after each step, balls, of one task."""
    before = ctx.prec
    ctx.prec = BITS
    try:
        return _ball_distances(em, X.tolist(), weights.tolist(), means.tolist(), steps)
    finally:
        ctx.prec = before


def _ball_distances(em, X, weights, means, steps):
    K, d, N = len(weights), len(X[0]), len(X)
    X = [[arb(v) for v in row] for row in X]
    state = [arb(v) for v in weights], [[arb(v) for v in row] for row in means]
    exact = made = state
    found = []
    for step in range(steps):
        new = []
        for (pi, mu), ours in ((exact, False), (made, True)):
            log, square = arb.log, lambda v: v * v
            if ours and step:
                log, square = (lambda v: hinge_sum(em.log_pi, v)), (lambda v: hinge_sum(em.square, v))
            bias = [log(pi[k]) - sum(square(v) for v in mu[k]) / 2 for k in range(K)]
            w = []
            for x in X:
                e = [(sum(a * b for a, b in zip(x, mu[k], strict=True)) + bias[k]).exp() for k in range(K)]
                w.append([v / sum(e) for v in e])
            u = [[hinge_sum(em.log_resp, v).exp() for v in row] for row in w] if ours else w
            mass = [sum(row[k] for row in u) for k in range(K)]
            new.append(
                (
                    [sum(row[k] for row in w) / N for k in range(K)],
                    [
                        [sum(u[i][k] * X[i][j] for i in range(N)) / mass[k] for j in range(d)]
                        for k in range(K)
                    ],
                )
            )
        exact, made = new
        off = [
            root(sum((a - b) ** 2 for a, b in zip(exact[1][k], made[1][k], strict=True))) for k in range(K)
        ]
        found.append((off, [abs(a - b) for a, b in zip(exact[0], made[0], strict=True)]))
    return found


def root(square):
    """Of a ball that may reach below 0 by its radius: 0 then, which is no more than it is."""
    return square.sqrt() if square > 0 else arb(0)


def largest(distances):
    """Of the last step: the largest, as a float below it."""
    means, weights = distances[-1]
    return max(float(v.lower()) for v in (*means, *weights))
