"""Ways between two latents: the chord and the arc."""

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.reading import Reading, normal

t, r, alpha, omega = sp.symbols("t r alpha omega", positive=True)


def on_circle(turn: sp.Expr) -> sp.Matrix:
    """The point of the plane at distance r from the origin, in the direction ``turn``."""
    return sp.Matrix([r * sp.cos(turn), r * sp.sin(turn)])


CLAIMS = {
    # Two points of one circle, and the point that has gone the share t of the angle between them.
    "def-arc": Claim(
        Reading(
            {
                "a": on_circle(alpha), "b": on_circle(alpha + omega), "t": t, r"\omega": omega,
                "z": lambda _: on_circle(alpha + t * omega),
            }
        ),
        ranges={"t": (0.1, 0.9), "omega": (0.3, 2.5)},
    ),
    "eq-chord-square": Claim(
        Reading({"t": t, "p(a)": lambda a: normal(a, 0, 1), "p(b)": lambda b: normal(b, 0, 1)}),
        equivalent={
            r"the sign before t \, b flips": "a standard normal number is as likely as its negative",
            "the factor a is lost": "the mean square of a standard normal number is that of the number 1",
            "the factor b is lost": "the mean square of a standard normal number is that of the number 1",
        },
    ),
}  # fmt: skip
