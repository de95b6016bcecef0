"""Total variation, Jensen-Shannon and Wasserstein. Book: page 10."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
