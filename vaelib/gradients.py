"""How far a batch's gradient scatters: because of its images, and because of the draws for each of them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelib.divergences import Estimate
from vaelib.models import VAE
from vaelib.objectives import elbo_terms


class Parts(NamedTuple):
    r"""The two parts of the variance of a gradient from one random image and one draw.

    .. math::

        V_x = \operatorname{Var}_x\bigl[\mathbb E_z[g(x, z)]\bigr], \qquad
        V_z = \mathbb E_x\bigl[\operatorname{Var}_z[g(x, z)]\bigr]

    Of a gradient with many entries it is the sum over all of them.

    References
    ----------
    Book: eq-total-variance.
    """

    between_images: float
    within_image: float


def batch_variance(parts: Parts, *, images: int, draws: int, population: int | None = None) -> float:
    r"""The variance of a batch's mean gradient.

    .. math::

        \frac{N - M}{N - 1} \cdot \frac{V_x}{M} + \frac{V_z}{M L}

    Parameters
    ----------
    parts : Parts
        :math:`V_x` and :math:`V_z`.
    images, draws : int
        M images in the batch, L draws for each.
    population : int, optional
        N, where the batch takes no image twice; otherwise the first factor is 1.

    Raises
    ------
    ValueError
        If a batch is empty, or larger than the population that it is taken from.

    References
    ----------
    Book: eq-batch-variance, eq-without-replacement.

    Examples
    --------
    >>> batch_variance(Parts(8.0, 4.0), images=2, draws=1)
    6.0
    """
    if images < 1 or draws < 1 or (population is not None and images > population):
        raise ValueError(f"no batch takes {images} images out of {population} and {draws} draws for each")
    left = 1.0 if population is None else (population - images) / max(population - 1, 1)
    return left * parts.between_images / images + parts.within_image / (images * draws)


def best_draws(parts: Parts, *, image_cost: float, draw_cost: float) -> float:
    r"""How many draws for each image give the smallest variance at a given cost.

    .. math::

        L^* = \sqrt{\frac{V_z \, c_x}{V_x \, c_z}}

    Parameters
    ----------
    parts : Parts
        :math:`V_x` and :math:`V_z`.
    image_cost, draw_cost : float
        :math:`c_x`, paid once for each image, and :math:`c_z`, paid for each draw.

    Returns
    -------
    float
        It need not be a whole number, and may lie below 1: then one draw is best.

    References
    ----------
    Book: eq-best-draws.
    """
    return math.sqrt(parts.within_image * image_cost / (parts.between_images * draw_cost))


def variance_with_error(values: Tensor) -> Estimate:
    r"""Estimate a variance from independent values, and how far the estimate may be off.

    .. math::

        s^2 = \frac{1}{R - 1} \sum_{r=1}^{R} (v_r - \bar v)^2, \qquad
        \mathrm{SE}^2 = \frac{1}{R} \left( \frac{1}{R} \sum_{r=1}^{R} (v_r - \bar v)^4 - s^4 \right)

    Parameters
    ----------
    values : Tensor, shape (R, ...)
        At least two; their fourth moment has to exist, or the error means nothing.

    Returns
    -------
    Estimate
        Of shape (...).

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"there are {len(values)} values: a variance needs at least 2")
    squares = (values - values.mean(0)).square()
    variance = squares.sum(0) / (len(values) - 1)
    return Estimate(variance, ((squares.square().mean(0) - variance.square()) / len(values)).sqrt())


@dataclass(frozen=True)
class LinearPopulation:
    r"""A finite set of one-pixel images with a linear decoder and encoder, whose variances are known exactly.

    .. math::

        p_\theta(x \mid z) = \mathcal N(x; w z, 1), \qquad q_\phi(z \mid x) = \mathcal N(z; a x, \sigma^2),
        \qquad g(x, z) = \frac{d}{d w} \log p_\theta(x \mid z) = (x - w z) \, z

    Parameters
    ----------
    images : Tensor, shape (N,)
    weight : float
        w.
    slope : float
        a.
    deviation : float
        :math:`\sigma`.

    References
    ----------
    Book: eq-batch-variance.
    """

    images: Tensor
    weight: float = 1.0
    slope: float = 0.3
    deviation: float = 0.7

    def gradient(self, x: Tensor, z: Tensor) -> Tensor:
        """Return g(x, z), elementwise."""
        return (x - self.weight * z) * z

    def parts(self) -> Parts:
        r"""Both parts of the variance, exactly.

        Put :math:`z = a x + \sigma \epsilon` into g: what results is
        :math:`b_0 + b_1 \epsilon + b_2 \epsilon^2`, with mean :math:`b_0 + b_2` and variance
        :math:`b_1^2 + 2 b_2^2`.
        """
        mean = self.slope * self.images
        b_0 = (self.images - self.weight * mean) * mean
        b_1 = self.deviation * (self.images - 2 * self.weight * mean)
        b_2 = -self.weight * self.deviation**2
        between = (b_0 + b_2).var(correction=0)
        return Parts(between.item(), (b_1.square() + 2 * b_2**2).mean().item())

    def batch_means(
        self, *, images: int, draws: int, batches: int, generator: torch.Generator, replace: bool = False
    ) -> Tensor:
        """Draw many batches, and return the mean gradient of each, shape (batches,)."""
        weights = torch.ones(batches, len(self.images), dtype=torch.float64)
        chosen = torch.multinomial(weights, images, replacement=replace, generator=generator)
        x = self.images[chosen].unsqueeze(-1)
        noise = torch.randn(batches, images, draws, generator=generator, dtype=torch.float64)
        return self.gradient(x, self.slope * x + self.deviation * noise).mean((1, 2))


class MeasuredParts(NamedTuple):
    """Both parts, measured, and the ratio of the second to the first with its standard error."""

    parts: Parts
    ratio: float
    standard_error: float


_IMAGES_AT_ONCE = 8  # gradients of all their draws are in memory together


class _Bound(nn.Module):
    """The estimate of one image's ELBO as a function of the weights, as ``torch.func`` wants it."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return elbo_terms(self.model, x.unsqueeze(0), noise=noise.unsqueeze(0)).elbo.squeeze(0)


def gradient_parts(
    model: VAE, x: Tensor, *, draws: int, generator: torch.Generator | None = None
) -> dict[str, MeasuredParts]:
    r"""Measure both parts of the variance of the ELBO's gradient, from several draws for each image.

    .. math::

        \widehat V_z = \frac{1}{N} \sum_{i=1}^{N} s_i^2, \qquad
        \widehat V_x = \frac{1}{N - 1} \sum_{i=1}^{N} \|\bar g_i - \bar g\|^2 - \frac{\widehat V_z}{L}

    with :math:`\bar g_i` the mean and :math:`s_i^2` the sample variance over image i's draws, summed over all
    weights. Both are unbiased: what the draws add to the scatter of the means is taken off again. The
    standard error of the ratio is the jackknife's, which leaves out one image after the other.

    Parameters
    ----------
    model : VAE
    x : Tensor, shape (N, D)
        Images, a random choice from all; three or more. The mean over the draws is kept for each of them, so
        that memory grows like N times the number of weights.
    draws : int
        L, at least 2.
    generator : torch.Generator, optional
        Draws the noise; it must live on the device of ``x``.

    Returns
    -------
    dict
        For the weights of ``"encoder"`` and ``"decoder"``, and for ``"all"`` of them.

    Raises
    ------
    ValueError
        If there are fewer than three images or two draws.

    References
    ----------
    Book: eq-total-variance.
    """
    if len(x) < 3 or draws < 2:
        raise ValueError(f"{len(x)} images and {draws} draws: at least 3 and 2 are needed")
    bound = _Bound(model)
    weights = {name: weight.detach() for name, weight in bound.named_parameters() if weight.requires_grad}

    def estimate(weights: dict[str, Tensor], image: Tensor, noise: Tensor) -> Tensor:
        value: Tensor = torch.func.functional_call(bound, weights, (image, noise))
        return value

    over_draws = torch.func.vmap(torch.func.grad(estimate), in_dims=(None, None, 0))
    gradient = torch.func.vmap(over_draws, in_dims=(None, 0, 0))
    groups = {
        group: [name for name in weights if name.startswith(f"model.{group}.")]
        for group in ("encoder", "decoder")
    }
    groups["all"] = list(weights)
    means: dict[str, list[Tensor]] = {name: [] for name in weights}
    within: dict[str, list[Tensor]] = {name: [] for name in weights}
    for images in torch.split(x, _IMAGES_AT_ONCE):
        shape = (len(images), draws, model.latent_dim)
        noise = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        for name, each in gradient(weights, images, noise).items():
            over_draws_mean = each.mean(1, keepdim=True)
            means[name].append(over_draws_mean.flatten(1))
            # Several times faster than var(), which does not like the middle of three dimensions.
            within[name].append(_squares((each - over_draws_mean).flatten(1)) / (draws - 1))
    between, scatter = {}, {}
    for name, parts in means.items():
        mean = torch.cat(parts)
        between[name] = _squares(mean - mean.mean(0))
        scatter[name] = torch.cat(within[name])
    return {
        group: _parts_with_error(
            torch.stack([between[name] for name in names]).sum(0),
            torch.stack([scatter[name] for name in names]).sum(0),
            draws,
        )
        for group, names in groups.items()
    }


def _squares(rows: Tensor) -> Tensor:
    """The sum of squares of each row, added up in float64."""
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norm.square()


def _parts_with_error(norms: Tensor, scatter: Tensor, draws: int) -> MeasuredParts:
    """Both parts, from how far each image's mean is from that of all, squared, and its draws' variance."""
    count = len(norms)
    between = norms.sum() / (count - 1) - scatter.mean() / draws
    # Without image i the squares about the new mean are the old ones less N / (N - 1) of its own.
    left_scatter = (scatter.sum() - scatter) / (count - 1)
    left_squares = norms.sum() - norms * count / (count - 1)
    left_ratio = left_scatter / (left_squares / (count - 2) - left_scatter / draws)
    error = ((count - 1) * left_ratio.var(correction=0)).sqrt()
    return MeasuredParts(
        Parts(between.item(), scatter.mean().item()), (scatter.mean() / between).item(), error.item()
    )
