"""Latent variables and maximum likelihood. Book: page 2."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
