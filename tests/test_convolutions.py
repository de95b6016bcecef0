import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaelib.convolutions import ConvDecoder, ConvEncoder, _Doubling, _Halving, _Painting

# As the reference networks have them, and a small one with a side that is odd on its way.
KIMRASS = {"side": 32, "encoder": (32, 64, 64, 64), "decoder": (64, 64, 32, 32), "latents": 2}
JUYOUNG = {"side": 28, "encoder": (32, 64, 64, 64), "decoder": (64, 64, 64, 32), "latents": 64}
SMALL = {"side": 12, "encoder": (3, 4, 5), "decoder": (5, 4, 3), "latents": 2}
NETWORKS = [
    {**KIMRASS, "batch_norm": True, "head": "linear"},
    {**JUYOUNG, "batch_norm": False, "head": "convolution"},
    {**SMALL, "batch_norm": True, "head": "convolution"},
    {**SMALL, "side": 16, "batch_norm": False, "head": "linear"},
]
networks = pytest.mark.parametrize("network", NETWORKS, ids=["kimrass", "juyoung", "odd", "even"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(network: dict[str, Any], seed: int = 0, **more: Any) -> tuple[ConvEncoder, ConvDecoder]:
    side, latents = network["side"], network["latents"]
    options = {"batch_norm": network["batch_norm"], "head": network["head"], "generator": seeded(seed)}
    return (
        ConvEncoder(side, network["encoder"], latents, **options),
        ConvDecoder(latents, side, network["decoder"], **options, **more),
    )


def plain(network: dict[str, Any]) -> tuple[nn.Sequential, nn.Sequential]:
    """The same networks of PyTorch's layers, pictures (B, 1, S, S) on [-1, 1] in and out, channels first."""
    side, latents, linear = network["side"], network["latents"], network["head"] == "linear"
    channels, mirrored = network["encoder"], network["decoder"]

    def activated(layer: nn.Module, width: int) -> list[nn.Module]:
        return [layer, *([nn.BatchNorm2d(width)] if network["batch_norm"] else []), nn.LeakyReLU(0.01)]

    down: list[nn.Module] = []
    sides = [side]
    for inputs, outputs in zip([1, *channels], channels, strict=False):
        down += activated(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=not network["batch_norm"]), outputs)
        sides.append(math.ceil(sides[-1] / 2))
    if linear:
        down += [nn.Flatten(), nn.Linear(channels[-1] * sides[-1] ** 2, 2 * latents)]
    else:
        down += [nn.Conv2d(channels[-1], 2 * latents, 3, 2, 1), nn.Flatten()]
        sides.append(1)

    first = mirrored[0] if linear else latents
    up: list[nn.Module] = [nn.Linear(latents, first * sides[-1] ** 2)] if linear else []
    up.append(nn.Unflatten(1, (first, sides[-1], sides[-1])))
    wanted = sides[-2::-1]
    for inputs, outputs, after in zip([first, *mirrored], mirrored, wanted, strict=False):
        up += activated(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1 - after % 2), outputs)
    if linear:
        up.append(nn.Conv2d(mirrored[-1], 1, 3, 1, 1, bias=False))
    else:
        up.append(nn.ConvTranspose2d(mirrored[-1], 1, 3, 2, 1, output_padding=1 - side % 2))
    return nn.Sequential(*down), nn.Sequential(*up, nn.Tanh())


def copied(ours: nn.Module, theirs: nn.Sequential) -> dict[str, str]:
    """Give PyTorch's layers our weights, which stand in the same order; their names by ours."""
    weights = {name: t for name, t in ours.state_dict().items() if not name.startswith("norms")}
    norms = {name: t for name, t in ours.state_dict().items() if name.startswith("norms")}
    slots: dict[bool, list[str]] = {True: [], False: []}
    kinds = {name: isinstance(layer, nn.BatchNorm2d) for name, layer in theirs.named_children()}
    for name in theirs.state_dict():
        slots[kinds[name.partition(".")[0]]].append(name)
    names = dict(zip(weights, slots[False], strict=True)) | dict(zip(norms, slots[True], strict=True))
    theirs.load_state_dict({theirs_: ours.state_dict()[ours_] for ours_, theirs_ in names.items()})
    return names


@networks
def test_float32_agrees_with_pytorchs_own_layers_forward_and_backward(network: dict[str, Any]) -> None:
    encoder, decoder = build(network)
    down, up = plain(network)
    names = [copied(encoder, down), copied(decoder, up)]
    x = torch.rand(6, network["side"] ** 2, generator=seeded(1))
    z = torch.randn(6, network["latents"], generator=seeded(2))
    mean, log_var = encoder(x)
    pictures = decoder(z)
    their_parameters = down((2 * x - 1).view(-1, 1, network["side"], network["side"]))
    their_pictures = (1 + up(z).flatten(1)) / 2
    # Sums of up to 600 products in another order: some rounding errors of 6e-8, on values of about 1.
    torch.testing.assert_close(torch.cat([mean, log_var], 1), their_parameters, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pictures, their_pictures, atol=1e-5, rtol=1e-5)

    weights = torch.randn(their_parameters.shape, generator=seeded(3))
    targets = torch.rand(pictures.shape, generator=seeded(4))
    for parameters, output in (
        (torch.cat([mean, log_var], 1), pictures),
        (their_parameters, their_pictures),
    ):
        ((parameters * weights).sum() + (output - targets).square().sum()).backward()
    for ours, theirs, pairs in ((encoder, down, names[0]), (decoder, up, names[1])):
        gradients = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            expected = gradients[pairs[name]].grad
            assert parameter.grad is not None
            assert expected is not None
            # A normalisation takes a bias before it away again: what is left are the rounding errors of a sum
            # of 6,000 terms. All else is exact to some of them, relative to the layer's largest.
            cancelled = network["batch_norm"] and name.startswith("convolutions") and name.endswith("bias")
            tolerance = 1e-3 if cancelled else 3e-5 * max(1.0, expected.abs().max().item())
            torch.testing.assert_close(parameter.grad, expected, atol=tolerance, rtol=0, msg=name)


@networks
def test_running_statistics_are_those_of_pytorchs_batch_norm(network: dict[str, Any]) -> None:
    encoder, _ = build(network)
    down, _ = plain(network)
    names = copied(encoder, down)
    x = torch.rand(6, network["side"] ** 2, generator=seeded(1))
    for _ in range(2):
        encoder(x)
        down((2 * x - 1).view(-1, 1, network["side"], network["side"]))
    for name, theirs in names.items():
        if "running" in name:
            torch.testing.assert_close(encoder.state_dict()[name], down.state_dict()[theirs])
    assert any("running" in name for name in names) == network["batch_norm"]


def draw(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)


def same_gradients(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    direction = torch.randn(ours.shape, dtype=torch.float64, generator=seeded(9))
    for mine, expected in zip(
        torch.autograd.grad(ours, inputs, direction.to(ours.dtype)),
        torch.autograd.grad(theirs, inputs, direction.to(theirs.dtype)),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected)


# With 16, a doubling takes PyTorch's backward pass for what large images are better off with.
@pytest.mark.parametrize("side", [4, 5, 7, 8, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_what_is_written_by_hand_is_what_pytorch_computes(side: int, bias: bool) -> None:
    """In float64: bfloat16, for which it is written, would hide a small mistake."""
    generator = seeded(side)
    half = (side + 1) // 2
    weight = draw(3, 2, 3, 3, generator=generator)
    wide, small = draw(2, 2, side, side, generator=generator), draw(2, 3, half, half, generator=generator)
    below = draw(3, generator=generator) if bias else None
    above = draw(2, generator=generator) if bias else None
    rest = 1 - side % 2
    for ours, theirs, inputs in (
        (
            _Halving.apply(wide, weight, below),
            nn.functional.conv2d(wide, weight, below, 2, 1),
            [wide, weight, below],
        ),
        (
            _Doubling.apply(small, weight, above, rest),
            nn.functional.conv_transpose2d(small, weight, above, 2, 1, rest),
            [small, weight, above],
        ),
    ):
        torch.testing.assert_close(ours, theirs)
        same_gradients(ours, theirs, [tensor for tensor in inputs if tensor is not None])


def test_gradients_written_by_hand_agree_with_finite_differences() -> None:
    generator = seeded()
    weight, bias = draw(3, 2, 3, 3, generator=generator), draw(3, generator=generator)
    assert torch.autograd.gradcheck(_Halving.apply, (draw(2, 2, 5, 5, generator=generator), weight, bias))
    small = draw(2, 3, 2, 2, generator=generator)
    assert torch.autograd.gradcheck(_Doubling.apply, (small, weight, draw(2, generator=generator), 1))


@pytest.mark.parametrize(("stride", "side"), [(1, 4), (2, 7), (2, 8)])
def test_a_picture_is_painted_as_by_a_transposed_convolution(stride: int, side: int) -> None:
    x, weight = draw(2, 3, 4, 4, generator=seeded(side)), draw(9, 3, generator=seeded(1))
    rest = side - stride * 3 - 1
    painted = nn.functional.conv_transpose2d(x, weight.mT.reshape(3, 1, 3, 3), None, stride, 1, rest)[:, 0]
    ours = _Painting.apply(x, weight, side, stride)
    # The nine parts are added in float32 whatever they were computed in.
    torch.testing.assert_close(ours, painted.float())
    direction = torch.randn(ours.shape, generator=seeded(2))
    mine = torch.autograd.grad(ours, (x, weight), direction)
    theirs = torch.autograd.grad(painted, (x, weight), direction.double())
    torch.testing.assert_close(mine, theirs)


def shapes_of(network: nn.Module, layers: list[nn.Module], given: Tensor) -> list[torch.Size]:
    """Of what each layer gives, as a hook sees it."""
    found: list[torch.Size] = []
    hooks = [
        layer.register_forward_hook(lambda _0, _1, output: found.append(output.shape)) for layer in layers
    ]
    network(given)
    for hook in hooks:
        hook.remove()
    return found


@networks
def test_the_layers_are_pytorchs_own_and_pass_pictures_to_one_another(network: dict[str, Any]) -> None:
    """What reads a network, by its modules or by hooks, finds what it knows: (B, C, S, S)."""
    for part, theirs in zip(build(network), plain(network), strict=True):
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        ours, expected = (
            [layer for layer in whole.modules() if isinstance(layer, kinds)] for whole in (part, theirs)
        )
        for mine, other in zip(ours, expected, strict=True):
            assert isinstance(mine, type(other))
            for name in ("stride", "padding", "output_padding", "in_channels", "out_channels"):
                assert getattr(mine, name, None) == getattr(other, name, None)
        inside = isinstance(part, ConvEncoder)
        given = torch.rand(2, network["side"] ** 2 if inside else network["latents"], generator=seeded())
        found = shapes_of(part, ours, given)
        wanted = shapes_of(theirs, expected, given.view(2, 1, network["side"], -1) if inside else given)
        assert found == wanted
        assert len(found) == len(ours)


@networks
def test_bfloat16_is_close_to_float32_and_comes_back_as_float32(network: dict[str, Any]) -> None:
    encoder, decoder = build(network)
    x = torch.rand(16, network["side"] ** 2, generator=seeded(1))
    z = torch.randn(16, network["latents"], generator=seeded(2))

    def outputs_and_gradients() -> tuple[list[Tensor], list[Tensor]]:
        mean, log_var = encoder(x)
        picture = decoder(z)
        loss = mean.square().sum() + log_var.sum() + (picture - x).square().sum()
        weights = [*encoder.parameters(), *decoder.parameters()]
        gradients = torch.autograd.grad(loss, weights)
        return [mean, log_var, picture], list(gradients)

    exact, exact_gradients = outputs_and_gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, gradients = outputs_and_gradients()
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        # bfloat16 has 8 bits: each value is off by up to 2^-9, and there are up to ten layers to it.
        torch.testing.assert_close(
            ours, theirs, atol=10 * 2**-9 * max(1.0, theirs.abs().max().item()), rtol=0
        )
    ours, theirs = (torch.cat([g.flatten() for g in found]) for found in (gradients, exact_gradients))
    assert all(g.dtype == torch.float32 for g in gradients)
    # All gradients as one vector: an error of a tenth of its length, mostly of the sums in the batch norms.
    assert (ours - theirs).norm() < 0.1 * theirs.norm()


@networks
@pytest.mark.parametrize("reduced", [False, True], ids=["float32", "bfloat16"])
def test_in_eval_mode_an_images_result_does_not_depend_on_its_batch(
    network: dict[str, Any], reduced: bool
) -> None:
    encoder, decoder = (part.eval() for part in build(network))
    x = torch.rand(9, network["side"] ** 2, generator=seeded(1))
    z = torch.randn(9, network["latents"], generator=seeded(2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        whole = [*encoder(x), decoder(z)]
        parts = [[*encoder(x[i : i + 2]), decoder(z[i : i + 2])] for i in range(0, 9, 2)]
    for k, together in enumerate(whole):
        # Products of other shapes add up in another order; in bfloat16 a sum may round to its neighbour.
        tolerance = 2**-7 if reduced else 1e-6
        torch.testing.assert_close(torch.cat([part[k] for part in parts]), together, atol=tolerance, rtol=0)


@networks
def test_the_same_step_twice_gives_the_same_gradients_to_the_bit(network: dict[str, Any]) -> None:
    x = torch.rand(16, network["side"] ** 2, generator=seeded(1))
    found = []
    for _ in range(2):
        encoder, decoder = build(network)
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_var = encoder(x)
            loss = (decoder(mean) - x).square().sum() + log_var.sum()
        found.append(torch.autograd.grad(loss, [*encoder.parameters(), *decoder.parameters()]))
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


@networks
def test_shapes_and_range(network: dict[str, Any]) -> None:
    encoder, decoder = build(network)
    pixels, latents = network["side"] ** 2, network["latents"]
    mean, log_var = encoder(torch.rand(3, pixels, generator=seeded(1)))
    assert mean.shape == log_var.shape == (3, latents)
    # Latents far out saturate the tanh: even there a mean stays a pixel.
    pictures = decoder(1e4 * torch.randn(3, latents, generator=seeded(2)))
    assert pictures.shape == (3, pixels)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_logits_are_those_of_the_means() -> None:
    decoders = [build(NETWORKS[2], logits=logits)[1] for logits in (False, True)]
    z = torch.randn(4, 2, generator=seeded(1))
    means, logits = (decoder(z) for decoder in decoders)
    torch.testing.assert_close(torch.sigmoid(logits), means)


def test_the_batch_norm_network_has_as_many_parameters_as_its_original() -> None:
    assert sum(p.numel() for part in build(NETWORKS[0]) for p in part.parameters()) == 196_932


@networks
def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(
    network: dict[str, Any],
) -> None:
    before = torch.random.get_rng_state()
    first, second, other = (build(network, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    for ours, same, different in zip(first, second, other, strict=True):
        for name, weight in ours.named_parameters():
            assert torch.equal(weight, same.get_parameter(name))
            if not name.startswith("norms"):
                assert not torch.equal(weight, different.get_parameter(name))


@networks
def test_weights_start_within_the_bounds_of_pytorchs_layers(network: dict[str, Any]) -> None:
    """Uniform within 1 / sqrt(fan_in); PyTorch takes the second dimension of a weight for the inputs."""
    for part in build(network):
        for name, weight in part.state_dict().items():
            if name.startswith("norms"):
                continue
            matrix = part.state_dict()[name.replace("bias", "weight")]
            bound = 1 / math.sqrt(matrix[0].numel())
            assert weight.abs().max() <= bound
            if weight.numel() >= 250:
                # U(-b, b) has variance b^2/3; that of 250 draws is off by 0.06 of it: three times that.
                assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.18)


@networks
def test_a_state_goes_into_another_network_and_comes_back_the_same(network: dict[str, Any]) -> None:
    for ours, other in zip(build(network, 0), build(network, 1), strict=True):
        other.load_state_dict(ours.state_dict())
        for name, tensor in ours.named_parameters():
            assert torch.equal(tensor, other.get_parameter(name))


def test_a_state_that_does_not_fit_is_refused() -> None:
    encoder, _ = build(NETWORKS[2])
    state = encoder.state_dict()
    name = "convolutions.1.weight"
    with pytest.raises(RuntimeError, match=name):
        encoder.load_state_dict({**state, name: state[name][:-1]})
    with pytest.raises(RuntimeError, match=name):
        encoder.load_state_dict({key: tensor for key, tensor in state.items() if key != name})


def test_gradients_of_single_images_are_those_of_a_loop_over_them() -> None:
    """``torch.func`` goes through the float32 path, as in ``vaelib.gradients``."""
    for part, inputs in zip(build({**NETWORKS[2], "batch_norm": False}), (144, 2), strict=True):
        batch = torch.rand(3, inputs, generator=seeded(1))

        def loss(weights: dict[str, Tensor], x: Tensor, part: nn.Module = part) -> Tensor:
            output = torch.func.functional_call(part, weights, (x[None],))
            value: Tensor = sum(tensor.square().sum() for tensor in output)
            return value

        weights = dict(part.named_parameters())
        together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, batch)
        for k, x in enumerate(batch):
            alone = torch.autograd.grad(loss(weights, x), list(weights.values()))
            for name, gradient in zip(weights, alone, strict=True):
                torch.testing.assert_close(together[name][k], gradient, msg=name)


def encoder_of(side: int, channels: tuple[int, ...], head: str = "convolution", latents: int = 2) -> Any:
    return lambda: ConvEncoder(side, channels, latents, batch_norm=False, head=head)  # type: ignore[arg-type]


def decoder_of(side: int, channels: tuple[int, ...], head: str = "linear") -> Any:
    return lambda: ConvDecoder(2, side, channels, batch_norm=False, head=head)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (encoder_of(28, (4, 4, 4)), "28 -> 14 -> 7 -> 4 -> 2, .*: give 4 channels, or head='linear'"),
        (encoder_of(28, (4,) * 5), "give 4 channels"),
        (encoder_of(2, (4,)), "give head='linear'$"),
        (decoder_of(28, (4, 4, 4), "convolution"), "give 4 channels"),
        (decoder_of(28, (4, 4, 4)), "pad the images to a multiple of 8, or give fewer channels"),
        (encoder_of(28, ()), "at least one convolution"),
        (encoder_of(28, (4, 0), "linear"), "channels has 0: it must be at least 1"),
        (encoder_of(28, (4,), "linear", 0), "latent_dim has 0"),
        (encoder_of(0, (4,), "linear"), "side has 0"),
        (encoder_of(28, (4,), "mean"), "'mean' is not one of linear, convolution"),
    ],
)
def test_a_geometry_that_cannot_work_is_refused_with_what_to_do(
    make: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
