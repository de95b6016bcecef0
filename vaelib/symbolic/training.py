"""What the training page repeats and adds. Book: page 11."""

from vaelib.symbolic.claims import Claim

CLAIMS: dict[str, Claim] = {}
