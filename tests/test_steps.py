"""How a step is taken: whatever way, it is the same step."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vaelib import steps, training
from vaelib.data import Images
from vaelib.handwritten import Backward
from vaelib.models import VAE, mlp_vae
from vaelib.objectives import ElboTerms
from vaelib.parallel import World
from vaelib.settings import Recipe
from vaelib.steps import (
    Replayed,
    Step,
    drop_vanishing_moments,
    optimizer_for,
    products_in,
    set_learning_rate,
    step_for,
)
from vaelib.training import fit


def fresh(**changes: object) -> VAE:
    settings = {"data_dim": 16, "hidden_dim": 8, "activation": "relu", **changes}
    return mlp_vae(**settings, generator=torch.Generator().manual_seed(0))


def images(count: int) -> Images:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 16), generator=generator).byte()
    return Images(pixels, torch.zeros(count, dtype=torch.int64))


def weights(model: VAE) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_training_by_hand_and_by_autograd_end_at_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(epochs=3, batch_size=10, beta_warmup_epochs=1.0)
    by_hand, by_autograd = fresh(), fresh()
    fit(by_hand, images(44), recipe, progress=False)
    monkeypatch.setattr(steps.handwritten, "applies_to", lambda _: False)
    fit(by_autograd, images(44), recipe, progress=False)
    # Fifteen steps of Adam, whose first divide a rounded gradient by its own size.
    torch.testing.assert_close(weights(by_hand), weights(by_autograd), rtol=0, atol=1e-5)
    assert (weights(by_hand) - weights(fresh())).abs().max() > 1e-2


def eagerly(function: Callable[[], ElboTerms]) -> tuple[Callable[[], None], ElboTerms]:
    """Record as a CUDA graph does: nothing is done until the replay, which leaves its result in place."""
    result = ElboTerms(torch.full((10,), math.nan), torch.full((10,), math.nan))

    def replay() -> None:
        for kept, new in zip(result, function(), strict=True):
            kept.copy_(new)

    return replay, result


@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_replayed_steps_are_the_steps(warmup: float, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(epochs=3, batch_size=10, beta_warmup_epochs=warmup)  # 10 steps, the last of 4 images
    plain, replayed, recorded, choose = fresh(), fresh(), [], step_for

    def recording(function: Callable[[], ElboTerms]) -> tuple[Callable[[], None], ElboTerms]:
        recorded.append(1)
        return eagerly(function)

    def choosing(model: VAE, recipe: Recipe, optimizer: torch.optim.Optimizer, world: World) -> Step:
        return Replayed(choose(model, recipe, optimizer, world), recording)

    expected = fit(plain, images(94), recipe, progress=False)
    monkeypatch.setattr(training, "step_for", choosing)
    found = fit(replayed, images(94), recipe, progress=False)
    torch.testing.assert_close(weights(replayed), weights(plain), rtol=0, atol=0)
    assert [line._replace(seconds=0) for line in found] == [line._replace(seconds=0) for line in expected]
    assert recorded == [1]


def test_a_step_size_on_the_device_is_set_in_its_place() -> None:
    rate = torch.tensor(0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=rate)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.25


def test_dropping_vanishing_moments_moves_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of the pixels are never on, and half of the units soon are not: a thousand steps of decay.
    dark = images(20)
    dark.pixels[:, ::2] = 0
    recipe = Recipe(epochs=500, batch_size=10, learning_rate=0.05, schedule="constant")
    dropped, kept = fresh(), fresh()
    fit(dropped, dark, recipe, progress=False)
    monkeypatch.setattr(training, "drop_vanishing_moments", lambda _: None)
    fit(kept, dark, recipe, progress=False)
    torch.testing.assert_close(weights(dropped), weights(kept), rtol=0, atol=0)


def test_no_moment_is_left_denormal() -> None:
    model = fresh()
    optimizer = optimizer_for(model, Recipe())
    Backward(model)(images(10).floats(), torch.zeros(10, 2), 1.0, 10)
    optimizer.step()
    for state in optimizer.state.values():
        state["exp_avg"][0].fill_(-1e-39)
        state["exp_avg_sq"][0].fill_(1e-40)
        state["exp_avg"][1:].fill_(-1e-3)
    drop_vanishing_moments(optimizer)
    for state in optimizer.state.values():
        assert (state["exp_avg"][0] == 0).all()
        assert (state["exp_avg_sq"][0] == 0).all()
        assert (state["exp_avg"][1:] == -1e-3).all()


def test_lower_precision_rounds_the_factors_alone_and_is_taken_back() -> None:
    generator = torch.Generator().manual_seed(0)
    model, setting = mlp_vae(generator=generator), torch.backends.mkldnn.matmul
    a, b = torch.rand(128, 784, generator=generator), torch.rand(784, 400, generator=generator)
    before, exact = setting.fp32_precision, a.double() @ b.double()
    with products_in("bf16", model):
        rough = a @ b
    assert setting.fp32_precision == before
    assert rough.dtype == torch.float32
    rounded = a.bfloat16().double() @ b.bfloat16().double()
    # Factors of eight bits, sums of 32: off by the rounding of 784 sums, not by that of the result to 8 bits.
    expected = rounded if torch.ops.mkldnn._is_mkldnn_bf16_supported() else exact
    torch.testing.assert_close(rough.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close((a @ b).double(), exact, rtol=1e-5, atol=0)
    with products_in("fp32", model):
        torch.testing.assert_close((a @ b).double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adam", 0.1), ("adamw", 0.1)])
def test_adam_takes_the_steps_of_torch_optim_and_goes_on_from_its_state(name: str, decay: float) -> None:
    recipe = Recipe(optimizer=name, learning_rate=0.01, weight_decay=decay)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    ours, theirs, resumed = fresh(), fresh(), fresh()
    mine, reference = (
        optimizer_for(ours, recipe),
        kind(theirs.parameters(), 0.01, weight_decay=decay, fused=True),
    )
    generator = torch.Generator().manual_seed(1)
    for number in range(12):
        if number == 6:
            resumed.load_state_dict(ours.state_dict())
            again = optimizer_for(resumed, recipe)
            again.load_state_dict(mine.state_dict())
        for parameter, other, third in zip(*(m.parameters() for m in (ours, theirs, resumed)), strict=True):
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad, other.grad, third.grad = gradient, gradient.clone(), gradient.clone()
        set_learning_rate(mine, 0.01 / (number + 1))
        reference.param_groups[0]["lr"] = 0.01 / (number + 1)
        mine.step()
        reference.step()
        if number >= 6:
            set_learning_rate(again, 0.01 / (number + 1))
            again.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=0)
    torch.testing.assert_close(weights(resumed), weights(theirs), rtol=0, atol=0)


def test_training_loads_no_compiler() -> None:
    """PyTorch's takes most of a second, and nothing here is compiled."""
    code = """
import sys, torch
from vaelib.data import Images
from vaelib.models import mlp_vae
from vaelib.training import fit
images = Images(torch.zeros(20, 784, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
fit(mlp_vae(hidden_dim=4), images, progress=False)
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
