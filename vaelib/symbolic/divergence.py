"""Entropy, cross-entropy, Jensen and KL. Book: page 5."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
