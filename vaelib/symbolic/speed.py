"""What a step costs, its gradient written out, and what several workers gain. Book: page 21.

Costs are counted one by one, and gradients are SymPy's, of the loss as the other pages have it.
"""

import itertools
from collections.abc import Callable

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.gaussian_kl import kl_closed_form
from vaelib.symbolic.reading import Reading

N, D, H = 3, 5, 4


def multiplications(rows: int, inner: int, columns: int) -> int:
    """Count what the product of two matrices multiplies, entry by entry."""
    return len(list(itertools.product(range(rows), range(columns), range(inner))))


def operations(images: int, pixels: int, hidden: int) -> sp.Integer:
    """Count multiplications and additions of the five large products of a step.

    Parameters
    ----------
    images, pixels, hidden : int
        N, D and H.

    References
    ----------
    Book: eq-flop.
    """
    forward = [(images, pixels, hidden), (images, hidden, pixels)]
    # Of the last layer's weights, of what went into it, and of the first layer's weights; of x none is asked.
    backward = [(pixels, images, hidden), (images, pixels, hidden), (hidden, images, pixels)]
    return sp.Integer(2 * sum(itertools.starmap(multiplications, forward + backward)))


x, logit, mean, v, epsilon = sp.symbols("x l mu v epsilon", real=True)
beta = sp.Symbol("beta", positive=True)


def price(z: sp.Expr) -> sp.Expr:
    """Stand in for what a decoder makes of z: any bent function will do."""
    return sp.sin(z) + z**3 / 5


def gradient_at(function: Callable[[sp.Expr], sp.Expr], place: sp.Expr) -> sp.Expr:
    """The derivative of a function at a place that is an expression itself."""
    at = sp.Symbol("at", real=True)
    return sp.diff(function(at), at).subs(at, place)


drawn = mean + sp.exp(v / 2) * epsilon
kl = kl_closed_form(mean, sp.exp(v / 2), sp.S.Zero, sp.S.One)
latent = Reading(
    {
        r"\mu": mean, "v": v, r"\epsilon": epsilon, r"\beta": beta, "g": price,
        r"\bar z": gradient_at(price, drawn), r"\sigma": sp.exp(v / 2), "K": kl,
    }
)  # fmt: skip

t = sp.Symbol("t", positive=True)
first, fading = sp.symbols("m_0 beta_1", positive=True)
decay = Reading({"t": t, "m_0": first, r"\beta_1": fading, "m_t": first * fading**t})

# Five workers pass parts of a message of S bytes around a ring; a part takes a and its bytes over b.
WORKERS = 5
size, latency, rate, alone = sp.symbols("S a b T_1", positive=True)


def around_the_ring(workers: int = WORKERS) -> sp.Expr:
    r"""Time until every worker has the sum of all messages, each passing one part at a time to its neighbour.

    The parts go round once to be added up, and once more to be handed out.

    Parameters
    ----------
    workers : int
        W.

    References
    ----------
    Book: eq-ring. Patarasuk and Yuan (2009).
    """
    # held[w][p]: whose numbers worker w has added up in part p.
    held = [[{worker} for _ in range(workers)] for worker in range(workers)]
    everyone, rounds = set(range(workers)), 0
    while any(part != everyone for parts in held for part in parts):
        sent = [(worker, (worker - rounds) % workers) for worker in range(workers)]
        passed = [(worker, part, set(held[worker][part])) for worker, part in sent]
        for worker, part, numbers in passed:
            held[(worker + 1) % workers][part] |= numbers
        rounds += 1
    return rounds * (latency + size / workers / rate)


ring = Reading({"W": sp.Integer(WORKERS), "S": size, "a": latency, "b": rate, "T": around_the_ring()})
W, extra = sp.symbols("W T", positive=True)
together = Reading({"W": W, "T_1": alone, "T": extra, "T_W": alone / W + extra})

CLAIMS = {
    "eq-flop": Claim(
        Reading({"N": sp.Integer(N), "D": sp.Integer(D), "H": sp.Integer(H), "F": operations(N, D, H)})
    ),
    "eq-backward-logits": Claim(Reading({"x": x, r"\ell": logit})),
    "eq-backward-latent": Claim(latent),
    "eq-decay-steps": Claim(decay, ranges={"beta_1": (0.3, 0.9)}),
    "eq-ring": Claim(ring),
    "eq-efficiency": Claim(together),
}
