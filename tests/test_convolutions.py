"""The convolutional maps against plain stacks of PyTorch's own functions with the same weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelib.convolutions import ConvDecoder, ConvEncoder

KIMRASS = {"side": 32, "batch_norm": True, "head": "linear", "latent_dim": 2}
JUYOUNG = {"side": 28, "batch_norm": False, "head": "convolution", "latent_dim": 64}
DOWN = {"linear": (32, 64, 64, 64), "convolution": (32, 64, 64, 64)}
UP = {"linear": (64, 64, 32, 32), "convolution": (64, 64, 64, 32)}


def encoder(like: dict[str, object], seed: int = 0) -> ConvEncoder:
    generator = torch.Generator().manual_seed(seed)
    return ConvEncoder(
        like["side"], DOWN[like["head"]], like["latent_dim"], batch_norm=like["batch_norm"],
        head=like["head"],
        generator=generator,
    )  # fmt: skip


def decoder(like: dict[str, object], seed: int = 0, *, logits: bool = False) -> ConvDecoder:
    generator = torch.Generator().manual_seed(seed)
    return ConvDecoder(
        like["latent_dim"], like["side"], UP[like["head"]], batch_norm=like["batch_norm"], head=like["head"],
        logits=logits, generator=generator,
    )  # fmt: skip


def normalized(h: Tensor, weights: dict[str, Tensor], prefix: str) -> Tensor:
    """Batch statistics, written out."""
    if f"{prefix}.weight" not in weights:
        return h
    mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
    scaled = (h - mean) / (variance + 1e-5).sqrt()
    return scaled * weights[f"{prefix}.weight"].view(1, -1, 1, 1) + weights[f"{prefix}.bias"].view(
        1, -1, 1, 1
    )


def plain_encoder(weights: dict[str, Tensor], like: dict[str, object], x: Tensor) -> Tensor:
    h = 2 * x.view(len(x), 1, like["side"], like["side"]) - 1
    for k in range(4):
        bias = weights.get(f"convolutions.{k}.bias")
        h = F.conv2d(h, weights[f"convolutions.{k}.weight"], bias, stride=2, padding=1)
        h = F.leaky_relu(normalized(h, weights, f"norms.{k}"), 0.01)
    if like["head"] == "linear":
        return h.flatten(1) @ weights["head.weight"].T + weights["head.bias"]
    return F.conv2d(h, weights["head.weight"], weights["head.bias"], stride=2, padding=1).flatten(1)


def plain_decoder(weights: dict[str, Tensor], like: dict[str, object], z: Tensor) -> Tensor:
    if like["head"] == "linear":
        h, paddings = (z @ weights["head.weight"].T + weights["head.bias"]).view(len(z), 64, 2, 2), [1] * 4
    else:
        h, paddings = z.view(len(z), 64, 1, 1), [1, 1, 0, 1]
    for k, more in enumerate(paddings):
        weight, bias = weights[f"convolutions.{k}.weight"], weights[f"convolutions.{k}.bias"]
        h = F.conv_transpose2d(h, weight, bias, stride=2, padding=1, output_padding=more)
        h = F.leaky_relu(normalized(h, weights, f"norms.{k}"), 0.01)
    if like["head"] == "linear":
        h = F.conv2d(h, weights["output.weight"], padding=1)
    else:
        weight, bias = weights["output.weight"], weights["output.bias"]
        h = F.conv_transpose2d(h, weight, bias, stride=2, padding=1, output_padding=1)
    return (1 + torch.tanh(h.flatten(1))) / 2


@pytest.mark.parametrize("like", [KIMRASS, JUYOUNG], ids=["kimrass", "juyoung"])
def test_both_maps_and_all_their_gradients_are_those_of_plain_stacks(like: dict[str, object]) -> None:
    # In double precision, so that what differs is the formula and not the order of sums.
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(6, like["side"] ** 2, generator=generator, dtype=torch.float64)
    z = torch.randn(6, like["latent_dim"], generator=generator, dtype=torch.float64)
    for module, plain, given in (
        (encoder(like).double(), plain_encoder, x),
        (decoder(like).double(), plain_decoder, z),
    ):
        found = module(given)
        found = torch.cat(found, dim=-1) if isinstance(found, tuple) else found
        expected = plain(dict(module.named_parameters()), like, given)
        # The maps end in float32.
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
        probe = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
        parameters = list(module.parameters())
        ours = torch.autograd.grad((found * probe).sum(), parameters, retain_graph=True)
        theirs = torch.autograd.grad((expected * probe).sum(), parameters)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_published_network_has_its_number_of_parameters() -> None:
    count = sum(
        weight.numel() for module in (encoder(KIMRASS), decoder(KIMRASS)) for weight in module.parameters()
    )
    assert count == 196_932


@pytest.mark.parametrize("like", [KIMRASS, JUYOUNG], ids=["kimrass", "juyoung"])
def test_same_seed_same_weights_within_pytorchs_bounds_and_the_global_generator_is_left_alone(
    like: dict[str, object],
) -> None:
    before = torch.random.get_rng_state()
    for make in (encoder, decoder):
        one, two, other = make(like, 3), make(like, 3), make(like, 4)
        for name, weight in one.state_dict().items():
            assert torch.equal(weight, two.state_dict()[name])
        assert not torch.equal(one.convolutions[0].weight, other.convolutions[0].weight)
        for layer in one.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                # Of a transposed convolution PyTorch counts the outputs.
                bound = 1 / math.sqrt(layer.weight[0].numel())
                assert layer.weight.abs().max() <= bound
                # U(-b, b) has variance b^2 / 3; with 288 weights or more the sample's is within 25 %.
                assert layer.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.25)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("like", [KIMRASS, JUYOUNG], ids=["kimrass", "juyoung"])
def test_an_images_result_does_not_depend_on_its_batch_in_eval_mode(like: dict[str, object]) -> None:
    maps = encoder(like).eval(), decoder(like).eval()
    x = torch.rand(5, like["side"] ** 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, _ = maps[0](x)
        alone = torch.cat([maps[0](row[None])[0] for row in x])
        # float32, and other ways to add for other sizes.
        torch.testing.assert_close(alone, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            torch.cat([maps[1](row[None]) for row in mean]), maps[1](mean), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("like", [KIMRASS, JUYOUNG], ids=["kimrass", "juyoung"])
def test_products_in_bf16_end_in_float32_near_the_others(like: dict[str, object]) -> None:
    maps = encoder(like).eval(), decoder(like).eval()
    x = torch.rand(8, like["side"] ** 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = maps[0](x)
        picture = maps[1](exact[0])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = maps[0](x)
            again = maps[1](exact[0])
    for one, other in zip((*exact, picture), (*rounded, again), strict=True):
        assert other.dtype == torch.float32
        # Eight bits of mantissa, five layers of them.
        torch.testing.assert_close(other, one, rtol=0.05, atol=0.02)
    assert ((picture >= 0) & (picture <= 1)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConvEncoder(28, (8, 8), 2, batch_norm=False, head="convolution"), "1"),
        (lambda: ConvDecoder(2, 28, (8, 8, 8, 8), batch_norm=False, head="linear"), "pad the images"),
        (lambda: ConvEncoder(28, (), 2, batch_norm=False, head="linear"), "channels"),
        (lambda: ConvEncoder(28, (8,), 2, batch_norm=False, head="round"), "linear, convolution"),
    ],
)
def test_geometry_that_does_not_close_is_refused(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
