"""What page 17 derives from windows, against PyTorch's convolutions; equations as the page prints them."""

import itertools
import json
from pathlib import Path

import pytest
import sympy as sp
import torch
import torch.nn.functional as F

from vaelib.symbolic import convolutions, verify
from vaelib.symbolic.claims import ClaimError
from vaelib.symbolic.reading import Reading

PAGE = Path(__file__).parent.parent / "book" / "17-convolutions.ipynb"
# Windows that fit and windows that do not, strides up to the window, sides of every remainder.
CASES = [
    (side, kernel, stride, padding)
    for side, kernel, stride, padding in itertools.product((4, 7, 8), (2, 3, 5), (1, 2, 3), (0, 1, 2))
    if padding < kernel <= side + 2 * padding
]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def exact(numbers: torch.Tensor) -> list[sp.Rational]:
    """The same numbers, which are fractions."""
    return [sp.Rational(number) for number in numbers.flatten().tolist()]


def floats(row: list[sp.Expr]) -> torch.Tensor:
    return torch.tensor([float(entry) for entry in row], dtype=torch.float64)


def printed(label: str) -> str:
    """The equation as the page has it."""
    cells = json.loads(PAGE.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text.split(f":label: {label}\n", 1)[1].split("```", 1)[0].strip()


def last_side(label: str, statement: int = 0, **values: int) -> int:
    """What stands on the right of a printed equation, at whole numbers."""
    reading = Reading({name: sp.Integer(value) for name, value in values.items()})
    return int(reading.value(reading.chains(printed(label))[statement].sides[-1]))


@pytest.mark.parametrize(("side", "kernel", "stride", "padding"), CASES)
def test_windows_and_what_they_hold_are_those_of_torch(
    side: int, kernel: int, stride: int, padding: int
) -> None:
    row, weights = random(side), random(kernel)
    theirs = F.conv1d(row.view(1, 1, -1), weights.view(1, 1, -1), stride=stride, padding=padding).flatten()
    ours = convolutions.convolve(exact(weights), exact(row), stride=stride, padding=padding)
    # Sums of five products in float64.
    torch.testing.assert_close(floats(ours), theirs, rtol=0, atol=1e-13)
    assert last_side("eq-convolution-side", n=side, k=kernel, s=stride, p=padding) == len(theirs)


@pytest.mark.parametrize(("side", "kernel", "stride", "padding"), CASES)
def test_painting_is_torchs_transposed_convolution_and_the_output_padding_brings_the_side_back(
    side: int, kernel: int, stride: int, padding: int
) -> None:
    weights = random(kernel)
    count = len(convolutions.windows(side, kernel, stride=stride, padding=padding))
    extra = last_side("eq-output-padding", n=side, k=kernel, s=stride, p=padding)
    numbers = random(count)
    theirs = F.conv_transpose1d(
        numbers.view(1, 1, -1), weights.view(1, 1, -1), stride=stride, padding=padding, output_padding=extra
    )
    ours = convolutions.paint(
        exact(weights), exact(numbers), stride=stride, padding=padding, output_padding=extra
    )
    torch.testing.assert_close(floats(ours), theirs.flatten(), rtol=0, atol=1e-13)
    assert len(ours) == side
    assert last_side("eq-transposed-side", m=count, k=kernel, s=stride, p=padding, o=extra) == side


@pytest.mark.parametrize("side", [6, 7])
def test_matrix_of_an_image_is_transposed_by_the_transposed_convolution(side: int) -> None:
    weight = random(4, 3, 3, 3)
    pixels = torch.eye(3 * side**2, dtype=torch.float64).view(-1, 3, side, side)
    columns = F.conv2d(pixels, weight, stride=2, padding=1)
    half = columns.shape[-1]
    units = torch.eye(4 * half**2, dtype=torch.float64).view(-1, 4, half, half)
    rows = F.conv_transpose2d(units, weight, stride=2, padding=1, output_padding=1 - side % 2)
    assert rows.shape[2:] == (side, side)
    # Copies of the weights, and no sum.
    assert torch.equal(columns.flatten(1), rows.flatten(1).T)
    # Few weights in many places: what def-convolution and eq-weight-count say.
    assert set(columns[columns != 0].tolist()) == set(weight.flatten().tolist())


def test_sums_over_outputs_and_over_inputs_agree_with_channels_and_batches() -> None:
    for side in (7, 8, 28, 32):
        x, weight = random(2, 3, side, side), random(5, 3, 3, 3).flip(0)
        y = F.conv2d(x, weight, stride=2, padding=1)
        u = random(*y.shape).flip(1)
        back = F.conv_transpose2d(u, weight, stride=2, padding=1, output_padding=1 - side % 2)
        torch.testing.assert_close((y * u).sum(), (x * back).sum(), rtol=1e-12, atol=1e-9)


def test_derivative_of_a_convolution_is_the_transposed_one() -> None:
    row, weights, numbers = random(8), random(3), random(4)

    def loss(row: torch.Tensor) -> torch.Tensor:
        return (
            numbers * F.conv1d(row.view(1, 1, -1), weights.view(1, 1, -1), stride=2, padding=1)[0, 0]
        ).sum()

    slope = torch.autograd.functional.jacobian(loss, row)
    painted = convolutions.paint(exact(weights), exact(numbers), output_padding=1)
    torch.testing.assert_close(floats(painted), slope, rtol=0, atol=1e-13)


def test_matrix_has_the_same_weights_in_every_row_a_stride_further_on() -> None:
    w1, w2, w3 = convolutions.w
    assert convolutions.matrix(convolutions.w, 4) == sp.Matrix([[w2, w3, 0, 0], [0, w1, w2, w3]])
    assert convolutions.matrix(convolutions.w, 3, stride=1, padding=0) == sp.Matrix([[w1, w2, w3]])


def test_products_are_those_of_an_unfolded_image() -> None:
    uses = convolutions.uses(7, 3, stride=2, padding=1, inputs=2, outputs=5)
    unfolded = F.unfold(torch.ones(1, 2, 7, 7), 3, stride=2, padding=1)
    assert len(uses) == 5 * unfolded.numel()
    assert len(set(uses)) == torch.nn.Conv2d(2, 5, 3, bias=False).weight.numel()


@pytest.mark.parametrize("strides", [(1,), (2, 2), (2, 2, 2), (3, 1, 2)])
def test_a_unit_sees_the_pixels_on_which_it_has_a_slope(strides: tuple[int, ...]) -> None:
    pixels = torch.ones(1, 1, 64, dtype=torch.float64, requires_grad=True)
    h = pixels
    for stride in strides:
        h = F.conv1d(h, torch.ones(1, 1, 3, dtype=torch.float64), stride=stride)
    (slope,) = torch.autograd.grad(h[0, 0, h.shape[-1] // 2], pixels)
    assert int((slope != 0).sum()) == convolutions.sees(strides)


def test_one_two_two_and_four_products_meet() -> None:
    ones = convolutions.paint([sp.S.One] * 3, [sp.S.One] * 4, output_padding=1)
    assert ones == [1, 2, 1, 2, 1, 2, 1, 1]  # at the end the neighbour is missing
    board = F.conv_transpose2d(
        torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), stride=2, padding=1, output_padding=1
    )
    row = floats(ones).float()
    assert torch.equal(board[0, 0], torch.outer(row, row))


def test_repeated_pixels_are_torchs_nearest_neighbours() -> None:
    numbers = random(5)
    theirs = F.interpolate(numbers.view(1, 1, -1), scale_factor=2, mode="nearest").flatten()
    assert torch.equal(floats(convolutions.doubled(exact(numbers))), theirs)


def test_standardized_batch_is_that_of_torch_in_training_mode() -> None:
    numbers, (factor, shift) = random(3, 1), (0.7, -0.3)
    norm = torch.nn.BatchNorm1d(1, eps=0.05).double()
    with torch.no_grad():
        norm.weight.fill_(factor)
        norm.bias.fill_(shift)
        theirs = norm(numbers)[1, 0].item()
    values = dict(zip(convolutions.h, numbers.flatten().tolist(), strict=True))
    values |= {convolutions.gamma: factor, convolutions.delta: shift, convolutions.epsilon: 0.05}
    ours = convolutions.batch.names[r"\hat h"][1]
    assert float(ours.evalf(20, subs=values)) == pytest.approx(theirs, abs=1e-13)


def test_mean_of_a_tanh_decoder_is_torchs_sigmoid_of_twice_its_output() -> None:
    mean = convolutions.CLAIMS["eq-tanh-sigmoid"].reading.names[r"\mu"]
    for output in (-3.0, 0.2, 2.0):
        expected = torch.sigmoid(torch.tensor(2 * output, dtype=torch.float64)).item()
        assert float(mean.evalf(20, subs={convolutions.a: output})) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("label", "right", "wrong"),
    [
        # Rounded to the nearest, or padded at one end only.
        ("eq-convolution-side", r"\frac{n + 2 p - k}{s}", r"\frac{n + 2 p - k}{s} + \frac{1}{2}"),
        ("eq-convolution-side", "2 p", "p"),
        # The window turned round, as a convolution in mathematics has it.
        ("def-convolution", "+ j - p", "- j + k + 1 - p"),
        ("def-transposed-convolution", "t + p", "t - p"),
        ("eq-convolution-matrix", "s (i - 1)", "(i - 1)"),
        ("eq-transposed-side", "(m - 1)", "m"),
        ("eq-output-padding", r"\le o < s", r"\le o < s - 1"),
        ("eq-weight-count", "m^2 P", "n^2 P"),
        # The strides of this layer and those before it, instead of those before it.
        ("eq-receptive-field", r"^{l-1} s_i", r"^{l} s_i"),
        ("eq-two-phases", "w_3 u_i + w_1 u_{i+1}", "w_1 u_i + w_3 u_{i+1}"),
        ("eq-checkerboard", "w_1 + w_3 - w_2", "w_1 - w_3 - w_2"),
        ("eq-nearest", "(w_2 + w_3)", "(w_1 + w_2)"),
        # The unbiased variance, and an epsilon outside the root.
        ("def-batch-norm", r"v = \frac{1}{M}", r"v = \frac{1}{M - 1}"),
        ("def-batch-norm", r"\sqrt{v + \varepsilon}", r"\sqrt{v} + \varepsilon"),
        ("eq-tanh-sigmoid", "e^{-2 a}", "e^{-a}"),
    ],
)
def test_what_is_easily_got_wrong_is_turned_down(label: str, right: str, wrong: str) -> None:
    latex = printed(label)
    assert right in latex
    with pytest.raises(ClaimError):
        verify(label, latex.replace(right, wrong))
