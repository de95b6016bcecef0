"""The book's derivations as SymPy objects, and the claims that its equations make.

Needs SymPy and mpmath and nothing else, so that it also runs where PyTorch does not: in a browser.

``latex`` reads a formula, ``reading`` gives it meaning, ``claims`` checks it, ``numeric`` computes one number
in several ways. Every other module belongs to one page: functions that derive something, and ``CLAIMS``,
which says for each label of that page how its equation is read and checked.
"""

import functools
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaelib.symbolic.claims import Claim

# One module a page, in the order of the pages.
TOPICS = (
    "bayes",
    "latent_variables",
    "losses",
    "monte_carlo",
    "divergence",
    "elbo",
    "gaussian_kl",
    "gradients",
    "linear_vae",
    "distances",
    "training",
    "latent_space",
    "weighted",
    "four_losses",
    "inside",
    "convolutions",
    "aggregate_posterior",
    "collapse",
    "paper",
    "speed",
)


def claims_of(topic: str) -> Mapping[str, "Claim"]:
    """Return one topic's claims by label."""
    claims: Mapping[str, Claim] = importlib.import_module(f"{__name__}.{topic}").CLAIMS
    return claims


@functools.cache
def claims_by_topic() -> Mapping[str, Mapping[str, "Claim"]]:
    """Return every topic's claims by label."""
    return {topic: claims_of(topic) for topic in TOPICS}


def claim_of(label: str) -> "Claim":
    """Return the claim that an equation's label stands for.

    Raises
    ------
    KeyError
        If no equation has that label.
    """
    for topic in TOPICS:  # one by one: a page that asks for its own label need not wait for all pages
        claims = claims_of(topic)
        if label in claims:
            return claims[label]
    raise KeyError(f"no equation of the book has the label {label!r}")


def verify(label: str, latex: str) -> None:
    r"""Check a formula by the claim of one of the book's labels; return if it holds.

    Copy an equation from a page, change a sign, and see it fail.

    Parameters
    ----------
    label : str
        The equation's label, such as ``eq-gaussian-kl``.
    latex : str
        The formula as the page has it, or altered.

    Raises
    ------
    ClaimError
        If the formula does not hold; the message says where.
    ReadingError, LatexError
        If it cannot be read.
    """
    from vaelib.symbolic.claims import check

    check(label, claim_of(label), latex)
