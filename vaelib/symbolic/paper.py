"""What Auto-Encoding Variational Bayes did: its steps, its prior on weights, its start, its evidence.

Book: page 20.
"""

from collections.abc import Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.gaussian_kl import normal_vector, plane
from vaelib.symbolic.monte_carlo import INDICES, guess, joint
from vaelib.symbolic.reading import Reading, Value, normal

# --- Adagrad ----------------------------------------------------------------------------------------------

STEPS = 3
eta, c, size = sp.symbols("eta c g", positive=True)
slopes = sp.symbols(f"g1:{STEPS + 1}", real=True)
start = sp.Symbol("theta", real=True)


def walk(gradients: Sequence[sp.Expr] = slopes) -> list[sp.Expr]:
    r"""Where Adagrad has been, from the start to behind the last step, uphill.

    .. math::

        \theta_{t + 1} = \theta_t + \frac{\eta}{\sqrt{\sum_{s=1}^{t} g_s^2}} \, g_t

    Parameters
    ----------
    gradients : sequence of Expr
        :math:`g_1, g_2, \dots` of one weight.

    References
    ----------
    Book: def-adagrad.
    """
    been, squares = [start], sp.S.Zero
    for gradient in gradients:
        squares += gradient**2
        been.append(been[-1] + eta * gradient / sp.sqrt(squares))
    return been


last_step = Reading({r"\theta": walk(), r"\eta": eta, "g": slopes, "t": sp.Integer(STEPS), "c": c})
same_sizes = Reading({r"\eta": eta, "g": size, "t": sp.Integer(STEPS)})

# --- a prior on the weights -------------------------------------------------------------------------------

w = sp.Symbol("w", real=True)
images = sp.symbols("x1:4", real=True)


def model(x: Value) -> sp.Expr:
    """A model of one pixel with one weight, bent so that every image pulls differently."""
    return normal(x, sp.sin(w), sp.S.One)


weighted = Reading(
    {
        "w": w, "N": sp.Integer(len(images)), "x": images,
        r"p_w(x)": model, "p(w)": lambda w: normal(w, sp.S.Zero, sp.S.One),
    }
)  # fmt: skip

# --- the start --------------------------------------------------------------------------------------------

s = sp.Symbol("s", positive=True)
image = sp.symbols("x1:3", real=True)
spread = s * sp.eye(len(image))
started = Reading(
    {
        "s": s, "x": image, "D": sp.Integer(len(image)),
        "p(w)": lambda w: normal_vector(w, sp.zeros(len(image), 1), spread),
    },
    domains={"w": plane(sp.zeros(len(image), 1), spread)},
)  # fmt: skip

# --- the evidence, from draws of the posterior ------------------------------------------------------------

evidence = sp.Add(*joint)
prior = sp.symbols("r0:3", positive=True)  # p(z) at three values: any, for it cancels
from_posterior = Reading(
    {
        "x": sp.Symbol("x"),
        r"p_\theta(z|x)": lambda z, x: joint[int(z)] / evidence,
        r"p_\theta(x|z)": lambda x, z: joint[int(z)] / prior[int(z)],
        "p(z)": lambda z: prior[int(z)],
        "q(z)": lambda z: guess[int(z)],
        r"p_\theta(x)": evidence,
    },
    domains={"z": INDICES},
)  # fmt: skip

CLAIMS = {
    "def-adagrad": Claim(last_step),
    "eq-adagrad-scale": Claim(last_step),
    "eq-adagrad-slows": Claim(same_sizes),
    "eq-weight-prior": Claim(weighted),
    "eq-start-variance": Claim(started),
    "eq-inverse-evidence": Claim(from_posterior),
}
