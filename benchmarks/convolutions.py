"""How much faster a training step of the convolutional networks is than with PyTorch's layers as they come.

``python -m benchmarks.convolutions`` trains two published networks for a few steps at a time, each contestant
in turn, and writes ``results/convolutions.json``: ratios alone, which hold longer than a machine's seconds.
With one thread the processor's own time is counted, which others on the same machine hardly change; with all
threads the clock on the wall, so run it on a quiet one.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaelib.convolutions import ConvDecoder, ConvEncoder
from vaelib.divergences import gaussian_kl
from vaelib.likelihoods import gaussian_log_likelihood
from vaelib.models import reparameterize
from vaelib.results import FOLDER
from vaelib.runs import versions, write_json

RESULT = FOLDER / "convolutions.json"
SEED, ROUNDS, WARM_UP, BATCHES = 0, 15, 5, 16
STEP = 5e-4


@dataclass(frozen=True)
class Network:
    """A published network, how it was trained, and how many steps are its part of a round."""

    side: int
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    latents: int
    batch_norm: bool
    linear: bool
    batch: int
    optimiser: type[torch.optim.Optimizer]
    deviation: float  # of the decoder, on [0, 1], which the weights of its loss imply
    steps: int


NETWORKS = {
    "kimrass": Network(
        32, (32, 64, 64, 64), (64, 64, 32, 32), 2, True, True, 64, torch.optim.AdamW, 0.462, 4
    ),
    "juyoung": Network(
        28, (32, 64, 64, 64), (64, 64, 64, 32), 64, False, False, 32, torch.optim.Adam, 0.313, 20
    ),
}


class Plain(nn.Module):
    """PyTorch's layers one after the other, between rows of pixels on [0, 1] as vaelib has them."""

    def __init__(self, layers: list[nn.Module], prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.prepare = prepare

    def forward(self, x: Tensor) -> Tensor:
        """The layers' output, flat and in float32."""
        return self.layers(self.prepare(x)).float().flatten(1)


def plain(network: Network, *, channels_last: bool) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of PyTorch's layers."""

    def activated(layer: nn.Module, width: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(width)] if network.batch_norm else []
        return [layer, *norm, nn.LeakyReLU(0.01, inplace=True)]

    order = torch.channels_last if channels_last else torch.contiguous_format
    down: list[nn.Module] = []
    sides = [network.side]
    for inputs, outputs in zip([1, *network.encoder], network.encoder, strict=False):
        down += activated(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=not network.batch_norm), outputs)
        sides.append(math.ceil(sides[-1] / 2))
    last, outputs, first = network.encoder[-1], 2 * network.latents, network.latents
    up: list[nn.Module] = []
    if network.linear:
        first = network.decoder[0]
        down += [nn.Flatten(), nn.Linear(last * sides[-1] ** 2, outputs)]
        up.append(nn.Linear(network.latents, first * sides[-1] ** 2))
    else:
        down.append(nn.Conv2d(last, outputs, 3, 2, 1))
        sides.append(1)
    up.append(nn.Unflatten(1, (first, sides[-1], sides[-1])))
    before = [first, *network.decoder]
    for inputs, outputs, after in zip(before, network.decoder, sides[-2::-1], strict=False):
        up += activated(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1 - after % 2), outputs)
    if network.linear:
        up.append(nn.Conv2d(before[-1], 1, 3, 1, 1, bias=False))
    else:
        up.append(nn.ConvTranspose2d(before[-1], 1, 3, 2, 1, output_padding=1 - network.side % 2))

    def picture(x: Tensor) -> Tensor:
        return (2 * x - 1).view(-1, 1, network.side, network.side).contiguous(memory_format=order)

    encoder, decoder = Plain(down, picture), Plain([*up, nn.Tanh()], lambda z: z)
    return encoder.to(memory_format=order), decoder.to(memory_format=order)


def ours(network: Network) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of vaelib."""
    options: dict[str, Any] = {
        "batch_norm": network.batch_norm,
        "head": "linear" if network.linear else "convolution",
    }
    return (
        ConvEncoder(network.side, network.encoder, network.latents, **options),
        ConvDecoder(network.latents, network.side, network.decoder, **options),
    )


def training(
    network: Network, parts: tuple[nn.Module, nn.Module], *, reduced: bool = False, fused: bool = True
) -> Callable[[], None]:
    """A function that takes one step."""
    encoder, decoder = parts
    theirs = isinstance(decoder, Plain)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = network.optimiser(weights, lr=STEP, fused=fused)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(SEED)
    pixels = torch.rand(BATCHES, network.batch, network.side**2, generator=generator)
    log_var = torch.tensor(2 * math.log(network.deviation))
    turn = 0

    def precision() -> contextlib.AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16, enabled=reduced)

    def step() -> None:
        nonlocal turn
        x = pixels[turn % BATCHES]
        turn += 1
        with precision():
            mean, log_var_of_z = encoder(x).chunk(2, dim=-1) if theirs else encoder(x)
        z = reparameterize(mean, log_var_of_z, torch.randn(mean.shape, generator=generator))
        with precision():
            output = decoder(z)
        picture = (1 + output) / 2 if theirs else output
        loss = (gaussian_kl(mean, log_var_of_z) - gaussian_log_likelihood(picture, x, log_var)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def contestants(network: Network) -> dict[str, Callable[[], None]]:
    """The baseline first. Only the row that says so takes the optimiser that is not fused."""
    return {
        "PyTorch's layers, channels first, float32": training(network, plain(network, channels_last=False)),
        "the same, optimiser not fused": training(network, plain(network, channels_last=False), fused=False),
        "PyTorch's layers, channels last, float32": training(network, plain(network, channels_last=True)),
        "PyTorch's layers, channels last, bfloat16": training(
            network, plain(network, channels_last=True), reduced=True
        ),
        "vaelib, float32": training(network, ours(network)),
        "vaelib, bfloat16": training(network, ours(network), reduced=True),
    }


def race(network: Network, threads: int, bar: tqdm[Any]) -> dict[str, dict[str, float]]:
    """How many times as fast as the baseline each is: of the shortest rounds, and the median of all."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    steps = contestants(network)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = clock()
            for _ in range(network.steps):
                step()
            times[name].append(clock() - start)
        bar.update()
    baseline = next(iter(times.values()))
    return {
        name: {
            "ratio_of_minima": round(min(baseline) / min(found), 2),
            "median_ratio": round(statistics.median(a / b for a, b in zip(baseline, found, strict=True)), 2),
        }
        for name, found in times.items()
    }


def main() -> None:
    torch.manual_seed(SEED)
    cores = torch.get_num_threads()
    runs = [(name, threads) for name in NETWORKS for threads in sorted({1, cores})]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    waiting = 0.0
    with tqdm(total=len(runs) * ROUNDS, unit="round") as bar:
        for name, threads in runs:
            bar.set_description(f"{name}, threads: {threads}")
            wall, own = time.perf_counter(), time.process_time()
            rows[f"{name}, threads: {threads}"] = race(NETWORKS[name], threads, bar)
            if threads == 1:
                waiting = max(waiting, 1 - (time.process_time() - own) / (time.perf_counter() - wall))
    record = {
        "about": "Training steps of two published convolutional networks, fused optimisers, by contestant.",
        "convolutions": {
            "unit": "times as fast as PyTorch's layers in float32, channels first",
            "clock": "one thread: the processor's time; all threads: the wall's",
            "command": "python -m benchmarks.convolutions",
            "seed": SEED,
            "versions": versions(),
            "date": datetime.date.today().isoformat(),
            "cores": os.cpu_count(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "share_of_time_that_others_took": round(waiting, 2),
            "rows": rows,
        },
    }
    write_json(RESULT, record)
    for run, found in rows.items():
        print(f"\n{run:43s}  minima  median")
        for name, ratios in found.items():
            print(f"  {name:41s}  {ratios['ratio_of_minima']:6.2f}  {ratios['median_ratio']:6.2f}")


if __name__ == "__main__":
    main()
