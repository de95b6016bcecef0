"""Score-function and pathwise gradients. Book: page 8."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
