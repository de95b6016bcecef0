"""Likelihoods as losses. Book: page 3."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
