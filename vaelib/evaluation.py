"""What a trained model is worth, and what it makes of a set of images."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.data import Images
from vaelib.divergences import gaussian_kl
from vaelib.models import VAE, eval_mode, reparameterize
from vaelib.objectives import ElboTerms, importance_weighted_bound, terms_of

# Large enough to keep the cores busy, small enough for 784 pixels of 1,000 images to stay in cache.
BATCH = 1000
# Of the importance-weighted bound, whose every image is decoded many times at once.
WEIGHTED_BATCH = 100

# What a loop over batches goes through, for a caller who wants to show how far it is.
Progress = Callable[[range], Iterable[int]]


class Evaluation(NamedTuple):
    """Means over a set of images, in nats for each image.

    ``standard_error`` is that of ``elbo``: the deviation over images and draws, divided by the root of
    their number. ``squared_error`` is that of E[x | z] on [0, 1], summed over the pixels, at the same draws:
    unlike the distortion it means the same whatever the likelihood.
    """

    elbo: float
    distortion: float
    rate: float
    standard_error: float
    images: int
    squared_error: float

    def weighted(self, beta: float) -> float:
        """``-(distortion + beta * rate)``, what is trained and chosen by; at 0 any rate is free."""
        return -(self.distortion + beta * self.rate) if beta else -self.distortion


class Reconstruction(NamedTuple):
    """What became of some images: ``mean_image`` (B, D) and the terms of their ELBO, each (B,)."""

    mean_image: Tensor
    terms: ElboTerms

    @property
    def score(self) -> tuple[str, Tensor]:
        """What a picture is judged by, named, (B,) in nats: its ELBO, or log p(x|z) where q is a point."""
        if self.terms.elbo.isneginf().all():
            return "log p(x|z)", self.terms.log_likelihood
        return "ELBO", self.terms.elbo


@contextmanager
def _evaluating(model: VAE) -> Iterator[torch.device]:
    """``eval()`` mode without gradients; gives the model's device."""
    with eval_mode(model), torch.inference_mode():
        yield next(model.parameters()).device


def _by_batch(
    model: VAE,
    images: Images,
    compute: Callable[[Tensor], tuple[Tensor, ...]],
    progress: Progress = iter,
    batch: int = BATCH,
) -> tuple[Tensor, ...]:
    """All results of ``compute`` for every image, in the order of the images, on the CPU."""
    with _evaluating(model) as device:
        batches = [
            compute(images[start : start + batch].to(device).floats())
            for start in progress(range(0, len(images), batch))
        ]
    # What an encoder passes on untouched, as a linear one its variances, is still a parameter.
    return tuple(torch.cat(parts).detach().cpu() for parts in zip(*batches, strict=True))


def _through(model: VAE, x: Tensor, generator: torch.Generator | None) -> Reconstruction:
    """Encode, draw one z for each image, decode: the picture and the terms of that draw."""
    mean, log_var = model.encode(x)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    output = model.decode(reparameterize(mean, log_var, noise))
    terms = ElboTerms(model.log_likelihood(output, x), gaussian_kl(mean, log_var))
    return Reconstruction(model.mean_of(output), terms)


def image_terms(model: VAE, images: Images, *, generator: torch.Generator | None = None) -> ElboTerms:
    """Estimate the ELBO of every image with one draw each.

    Parameters
    ----------
    model : VAE
    images : Images
        N of them, on any device.
    generator : torch.Generator, optional
        On the model's device.

    Returns
    -------
    ElboTerms
        Of shape (N,), on the CPU.
    """
    return ElboTerms(*_by_batch(model, images, lambda x: _through(model, x, generator).terms))


def evaluate(
    model: VAE, images: Images, *, generator: torch.Generator | None = None, progress: Progress = iter
) -> Evaluation:
    r"""Estimate the mean ELBO, distortion and rate of a set of images.

    .. math::

        \frac{1}{N} \sum_{i=1}^{N} \widetilde{\mathcal L}(x_i)
        \;\pm\; \sqrt{\frac{\operatorname{Var}_i \widetilde{\mathcal L}(x_i)}{N}}

    Parameters
    ----------
    model : VAE
    images : Images
        N of them, on any device; at least one.
    generator : torch.Generator, optional
        On the model's device.
    progress : callable
        Given the first images' numbers of all batches, what yields them one by one: ``tqdm`` will do.

    Returns
    -------
    Evaluation
        The standard error is ``nan`` for a single image.

    References
    ----------
    Book: eq-elbo.
    """

    def measure(x: Tensor) -> tuple[Tensor, ...]:
        picture, terms = _through(model, x, generator)
        return *terms, (x - picture).square().sum(-1)

    # float64 for the one mean over all images: 10,000 numbers near 150 lose digits in float32.
    log_likelihood, kl, squared = (each.double() for each in _by_batch(model, images, measure, progress))
    elbo = log_likelihood - kl
    count = len(images)
    deviation = elbo.std().item() if count > 1 else math.nan
    return Evaluation(
        elbo=elbo.mean().item(),
        distortion=-log_likelihood.mean().item(),
        rate=kl.mean().item(),
        standard_error=deviation / math.sqrt(count),
        images=count,
        squared_error=squared.mean().item(),
    )


def refine(
    model: VAE,
    images: Images,
    *,
    steps: int = 120,
    draws: int = 8,
    learning_rate: float = 0.03,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Improve q(z | x) image by image: climb the ELBO from the encoder's answer, the decoder held fast.

    .. math::

        \max_{\mu, \log \sigma^2} \;
        \mathbb E_{\epsilon}\bigl[\log p_\theta(x \mid \mu + \sigma \odot \epsilon)\bigr]
        - \mathrm{KL}\bigl(\mathcal N(\mu, \operatorname{diag} \sigma^2) \,\|\, p(z)\bigr)

    What is gained is the amortization gap, as far as Adam closes it.

    Parameters
    ----------
    model : VAE
    images : Images
        All in one batch: some hundreds.
    steps, draws, learning_rate
        Of Adam; its step size falls to 0 along a half cosine, so that the noise of the draws dies away.
    generator : torch.Generator, optional
        On the model's device.

    Returns
    -------
    mean, log_var : Tensor, shape (N, J)
        On the CPU.

    References
    ----------
    Book: def-sgvb. Cremer, Li and Duvenaud (2018).
    """
    device = next(model.parameters()).device
    x = images.to(device).floats()
    with torch.no_grad():
        answer = torch.stack(model.encode(x)).requires_grad_()
    adam = torch.optim.Adam([answer], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        mean, log_var = answer
        noise = torch.randn(draws, *mean.shape, generator=generator, device=device)
        loss = -terms_of(model, x, mean, log_var, noise).elbo.sum()
        (answer.grad,) = torch.autograd.grad(loss, [answer])
        adam.step()
        schedule.step()
    mean, log_var = answer.detach().cpu()
    return mean, log_var


def importance_weighted(
    model: VAE,
    images: Images,
    *,
    draws: int,
    generator: torch.Generator | None = None,
    progress: Progress = iter,
) -> Tensor:
    r"""Estimate the importance-weighted bound of every image, in memory that grows with neither number.

    .. math::

        \widetilde{\mathcal L}_k(x) = \log \frac{1}{k} \sum_{i=1}^{k}
        \frac{p_\theta(x \mid z_i) \, p(z_i)}{q_\phi(z_i \mid x)}, \qquad z_i \sim q_\phi(z \mid x)

    Parameters
    ----------
    model : VAE
    images : Images
        N of them, on any device.
    draws : int
        k. Each image is decoded so many times.
    generator : torch.Generator, optional
        On the model's device.
    progress : callable
        As for :func:`evaluate`.

    Returns
    -------
    Tensor, shape (N,)
        Nats, on the CPU; minus infinity where q is a point.

    Raises
    ------
    ValueError
        If ``draws`` is below 1.

    References
    ----------
    Book: def-iwae. :func:`vaelib.objectives.importance_weighted_bound`, batch by batch.
    """

    def bound(x: Tensor) -> tuple[Tensor]:
        return (importance_weighted_bound(model, x, draws=draws, generator=generator),)

    return _by_batch(model, images, bound, progress, WEIGHTED_BATCH)[0]


def encode(model: VAE, images: Images, *, progress: Progress = iter) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of q(z | x) for every image, each (N, J), on the CPU."""
    mean, log_var = _by_batch(model, images, model.encode, progress)
    return mean, log_var


def decode(model: VAE, z: Tensor, *, progress: Progress = iter) -> Tensor:
    """E[x | z] for every latent: (K, J) to (K, D), on the CPU."""
    with _evaluating(model) as device:
        parts = [
            model.mean_image(z[start : start + BATCH].to(device)).cpu()
            for start in progress(range(0, max(1, len(z)), BATCH))
        ]
    return torch.cat(parts)


def reconstruct(model: VAE, images: Images, *, generator: torch.Generator | None = None) -> Reconstruction:
    """Encode images, draw one z for each, and decode it.

    Parameters
    ----------
    model : VAE
    images : Images
    generator : torch.Generator, optional
        On the model's device.

    Returns
    -------
    Reconstruction
        On the CPU; the picture and the terms belong to the same draw.
    """
    with _evaluating(model) as device:
        picture, terms = _through(model, images.to(device).floats(), generator)
    return Reconstruction(picture.cpu(), ElboTerms(*(term.cpu() for term in terms)))
