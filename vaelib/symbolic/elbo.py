"""The evidence lower bound. Book: page 6."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
