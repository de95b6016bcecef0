"""Those who train the same VAE: each is asked for an epoch at a time, and answers with its seconds.

``python -m benchmarks.contestants NAME`` is one process of one of them, started by ``benchmarks.speed``: it
reads a line, trains for an epoch, writes the seconds that it took, and ends with the input. All train the
784-400-2-400-784 network with ReLU units on the 60,000 images of MNIST, batches of 128, Adam at 0.001.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

IMAGES, BATCH, PIXELS, HIDDEN, LATENTS = 60_000, 128, 784, 400, 2
SEED, RATE = 0, 1e-3

Epoch = Callable[[], None]
Contestant = Callable[[Callable[[], None]], None]


def products(precision: str) -> Epoch:
    """Nothing but the five large products of a step: two forward, three backward."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator).to(dtype)

    generator = torch.Generator().manual_seed(SEED)
    x, of_logits = drawn(BATCH, PIXELS), drawn(BATCH, PIXELS)
    h1, h2, of_h1 = drawn(BATCH, HIDDEN), drawn(BATCH, HIDDEN), drawn(BATCH, HIDDEN)
    first, last = drawn(HIDDEN, PIXELS), drawn(PIXELS, HIDDEN)
    of_first, of_last, logits = (torch.empty_like(each) for each in (first, last, x))

    def epoch() -> None:
        for _ in range(-(-IMAGES // BATCH)):
            torch.mm(x, first.T, out=h1)
            torch.mm(h2, last.T, out=logits)
            torch.mm(of_logits.T, h2, out=of_last)
            torch.mm(of_logits, last, out=of_h1)
            torch.mm(of_h1.T, x, out=of_first)

    return epoch


def vaelib(precision: str, between: Callable[[], None]) -> None:
    """Vaelib's ``fit``, whole."""
    import torch

    from vaelib.data import load_mnist
    from vaelib.models import mlp_vae
    from vaelib.settings import Recipe
    from vaelib.training import fit

    train, _ = load_mnist(progress=False)
    model = mlp_vae(activation="relu", generator=torch.Generator().manual_seed(SEED))
    recipe = Recipe(
        epochs=1000, learning_rate=RATE, schedule="constant", warmup_epochs=0, precision=precision
    )  # fmt: skip
    between()
    fit(model, train, recipe, progress=False, on_epoch=lambda _: between())


def _network() -> Any:
    """The same network and loss as one writes them, for the loops below."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.heads = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, 2 * LATENTS)
            self.back, self.last = nn.Linear(LATENTS, HIDDEN), nn.Linear(HIDDEN, PIXELS)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean, log_var = self.heads(torch.relu(self.first(x))).chunk(2, -1)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            logits = self.last(torch.relu(self.back(z)))
            cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            return cross_entropy - 0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())

    torch.manual_seed(SEED)
    return Network()


def plain() -> Epoch:
    """A loop over tensors in memory with a fused optimiser: what one writes who has measured once."""
    import torch

    from vaelib.data import load_mnist

    pixels = load_mnist(progress=False)[0].pixels
    network = _network()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)

    def epoch() -> None:
        total = torch.zeros(())
        for index in torch.randperm(IMAGES).split(BATCH):
            loss = network(pixels[index].float() / 255) / len(index)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()

    return epoch


def loader() -> Epoch:
    """A ``DataLoader`` that makes a PIL image and a tensor of each digit, as pytorch/examples does."""
    import torch
    from torchvision import datasets, transforms

    from vaelib.sources import fetch

    root = fetch("mnist", progress=False).folder.parent.parent
    digits = datasets.MNIST(str(root), train=True, transform=transforms.ToTensor())
    batches = torch.utils.data.DataLoader(digits, batch_size=BATCH, shuffle=True)
    network = _network()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)

    def epoch() -> None:
        total = 0.0
        for x, _ in batches:
            optimizer.zero_grad()
            loss = network(x.view(-1, PIXELS))
            loss.backward()
            total += loss.item()
            optimizer.step()

    return epoch


def pythae() -> Epoch:
    """Pythae's trainer, as its documentation uses it, with the same network."""
    import logging

    logging.disable(logging.WARNING)
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn

    from vaelib.data import load_mnist

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseEncoder.__init__(self)
            self.latent_dim = LATENTS
            self.first, self.mean = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, LATENTS)
            self.log_var = nn.Linear(HIDDEN, LATENTS)

        def forward(self, x: torch.Tensor) -> ModelOutput:
            h = torch.relu(self.first(x.flatten(1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseDecoder.__init__(self)
            self.back, self.last = nn.Linear(LATENTS, HIDDEN), nn.Linear(HIDDEN, PIXELS)

        def forward(self, z: torch.Tensor) -> ModelOutput:
            logits = self.last(torch.relu(self.back(z)))
            return ModelOutput(reconstruction=torch.sigmoid(logits).view(-1, 1, 28, 28))

    train, _ = load_mnist(progress=False)
    settings = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENTS, reconstruction_loss="bce")
    trainer = BaseTrainer(
        VAE(settings, encoder=Encoder(), decoder=Decoder()),
        train_dataset=BaseDataset(train.floats().view(-1, 1, 28, 28), train.labels),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            num_epochs=1000,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            no_cuda=True,
        ),
    )
    trainer.prepare_training()
    return lambda: trainer.train_step(1)


def jax() -> Epoch:
    """JAX, a whole epoch compiled into one program; it leaves out the last 96 images, a batch of its own."""
    import jax
    import jax.numpy as jnp

    from vaelib.data import load_mnist

    pixels = jnp.asarray(load_mnist(progress=False)[0].pixels.numpy())
    steps = IMAGES // BATCH

    def layer(key: Any, inputs: int, outputs: int) -> dict[str, Any]:
        weight, bias = jax.random.split(key)
        bound = inputs**-0.5
        return {
            "w": jax.random.uniform(weight, (inputs, outputs), minval=-bound, maxval=bound),
            "b": jax.random.uniform(bias, (outputs,), minval=-bound, maxval=bound),
        }

    def apply(p: Any, x: Any) -> Any:
        return x @ p["w"] + p["b"]

    def loss(p: Any, x: Any, noise: Any) -> Any:
        mean, log_var = jnp.split(apply(p["heads"], jax.nn.relu(apply(p["first"], x))), 2, -1)
        z = mean + jnp.exp(0.5 * log_var) * noise
        logits = apply(p["last"], jax.nn.relu(apply(p["back"], z)))
        log_likelihood = (x * logits - jax.nn.softplus(logits)).sum(-1)
        kl = 0.5 * (mean**2 + jnp.expm1(log_var) - log_var).sum(-1)
        return (kl - log_likelihood).mean()

    def adam(state: Any, gradient: Any) -> Any:
        p, m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)

        def moved(p: Any, m: Any, v: Any) -> Any:
            return p - RATE * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)

        return jax.tree.map(moved, p, m, v), m, v, t

    @jax.jit
    def run(state: Any, key: Any, pixels: Any) -> Any:
        of_order, of_noise = jax.random.split(key)
        order = jax.random.permutation(of_order, IMAGES)[: steps * BATCH].reshape(steps, BATCH)

        def step(state: Any, taken: Any) -> Any:
            index, noise = taken
            x = pixels[index].astype(jnp.float32) / 255
            value, gradient = jax.value_and_grad(loss)(state[0], x, noise)
            return adam(state, gradient), value

        return jax.lax.scan(step, state, (order, jax.random.normal(of_noise, (steps, BATCH, LATENTS))))

    keys = jax.random.split(jax.random.PRNGKey(SEED), 5)
    sizes = {
        "first": (PIXELS, HIDDEN), "heads": (HIDDEN, 2 * LATENTS),
        "back": (LATENTS, HIDDEN), "last": (HIDDEN, PIXELS),
    }  # fmt: skip
    p = {name: layer(key, *size) for key, (name, size) in zip(keys, sizes.items(), strict=False)}
    zeros = jax.tree.map(jnp.zeros_like, p)
    held = {"state": (p, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0)), "key": keys[4]}

    def epoch() -> None:
        held["key"], now = jax.random.split(held["key"])
        held["state"], values = run(held["state"], now, pixels)
        values.block_until_ready()

    return epoch


def again_and_again(prepare: Callable[[], Epoch]) -> Contestant:
    """Ask what was prepared for one epoch after another."""

    def train(between: Callable[[], None]) -> None:
        epoch = prepare()
        while True:
            between()
            epoch()

    return train


# Each trains until it is stopped, and calls what it is given before the first epoch and after every one.
CONTESTANTS: dict[str, Contestant] = {
    "products alone, fp32": again_and_again(partial(products, "fp32")),
    "products alone, bf16": again_and_again(partial(products, "bf16")),
    "vaelib, fp32": partial(vaelib, "fp32"),
    "vaelib, bf16": partial(vaelib, "bf16"),
    "JAX, epoch jitted": again_and_again(jax),
    "PyTorch, in memory": again_and_again(plain),
    "pythae": again_and_again(pythae),
    "PyTorch, DataLoader": again_and_again(loader),
}


def main(name: str) -> None:
    start: float | None = None

    def between() -> None:
        nonlocal start
        answer = "ready" if start is None else time.perf_counter() - start
        print(json.dumps(answer), flush=True)
        if not sys.stdin.readline():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(json.dumps(peak * (1 if sys.platform == "darwin" else 1024)), flush=True)
            sys.exit()
        start = time.perf_counter()

    CONTESTANTS[name](between)


if __name__ == "__main__":
    main(sys.argv[1])
