"""The linear VAE, which can be solved. Book: page 9."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
