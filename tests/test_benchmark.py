"""The benchmark is a race on one course: all contestants train the same model by the same loss."""

from __future__ import annotations

import json
import re

import torch

from benchmarks import contestants, speed
from vaelib import results
from vaelib.models import mlp_vae
from vaelib.objectives import elbo_terms

MEASURED = json.loads(speed.RESULT.read_text())


def test_loops_of_the_others_have_our_loss_and_our_gradient() -> None:
    theirs, ours = contestants._network(), mlp_vae(activation="relu")
    layers = [ours.encoder.hidden, ours.encoder.output, ours.decoder.hidden, ours.decoder.output]
    for name, layer in zip(("first", "heads", "back", "last"), layers, strict=True):
        getattr(theirs, name).load_state_dict(layer.state_dict())
    x = torch.rand(20, 784, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    noise = torch.randn(20, 2)
    torch.manual_seed(1)
    loss = theirs(x)
    expected = -elbo_terms(ours, x, noise=noise).elbo.sum()
    # Sums of 16,000 numbers in another order, in float32.
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    loss.backward()
    expected.backward()
    for name, layer in zip(("first", "heads", "back", "last"), layers, strict=True):
        found, gradient = getattr(theirs, name).weight.grad, layer.weight.grad
        torch.testing.assert_close(found, gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()))


def test_every_part_was_measured_and_says_how() -> None:
    assert set(MEASURED) == {"about", *speed.PARTS}
    for name in speed.PARTS:
        part = MEASURED[name]
        assert part["command"] == f"python -m benchmarks.speed {name}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", part["date"])
        assert part["versions"]["torch"]
        assert part["found"]


def test_every_contestant_has_its_row() -> None:
    assert set(results.read("benchmark")["epochs"]["found"]) == set(contestants.CONTESTANTS)
