"""Monte Carlo, importance sampling and the bound made of it. Book: page 4."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
