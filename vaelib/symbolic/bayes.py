"""Bayes' theorem and conjugate normals. Book: page 1."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
