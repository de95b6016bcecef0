"""How fast the picture changes as z moves: the decoder's slope, in nats, and what it lets q be.

Pictures are distributions here, p(x | z), and their difference is a KL divergence: so a step in z has a
length that no unit of z and no rotation of the latents can change.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from vaelib.divergences import bernoulli_kl, diagonal_gaussian_kl
from vaelib.models import VAE, eval_mode

# Latents whose decoder is differentiated at a time.
BATCH = 1000


def information(model: VAE, z: Tensor) -> Tensor:
    r"""Fisher information of the decoder: how sharply p(x | z) tells z from its neighbours.

    .. math::

        G_{jk}(z) = \mathbb E_{p(x \mid z)} \left[
        \frac{\partial \log p(x \mid z)}{\partial z_j} \frac{\partial \log p(x \mid z)}{\partial z_k} \right]
        = \sum_{d=1}^{D} \pi_d (1 - \pi_d) \frac{\partial \ell_d}{\partial z_j}
        \frac{\partial \ell_d}{\partial z_k}

    for a Bernoulli decoder with logits :math:`\ell`. For a Gaussian one with means :math:`\mu_d` and one
    variance, :math:`\frac{1}{\sigma^2} \sum_d \frac{\partial \mu_d}{\partial z_j}
    \frac{\partial \mu_d}{\partial z_k}`. A small step :math:`\delta` changes the picture by
    :math:`\frac{1}{2} \delta^\top G \delta` nats of KL.

    Parameters
    ----------
    model : VAE
        Computed in ``eval()`` mode; its weights get no gradient.
    z : Tensor, shape (B, J)

    Returns
    -------
    Tensor, shape (B, J, J)
        Nats by squared unit of z; symmetric, never negative.

    Raises
    ------
    ValueError
        If the decoder has a variance for each pixel.

    References
    ----------
    Book: def-decoder-information. Kullback (1959), chapter 2, for the small step.
    """
    with _still(model), torch.enable_grad():
        return torch.cat([_information(model, part) for part in torch.split(z, BATCH)])


def _information(model: VAE, z: Tensor) -> Tensor:
    z = z.detach().clone().requires_grad_()
    output = model.decode(z)
    # The product of any u with the Jacobian is linear in u: its slopes in u are the Jacobian's columns.
    u = torch.zeros_like(output, requires_grad=True)
    (product,) = torch.autograd.grad(output, z, u, create_graph=True)
    columns = [torch.autograd.grad(product[:, j].sum(), u, retain_graph=True)[0] for j in range(z.shape[1])]
    slopes = torch.stack(columns, dim=1).detach()  # (B, J, D)
    if model.log_var is not None:
        weight = torch.exp(-model.log_var.detach()).expand_as(output)
    else:
        picture = model.mean_of(output.detach())
        weight = picture * (1 - picture)
    return (slopes * weight[:, None].to(slopes.dtype)) @ slopes.mT


def best_deviations(information: Tensor) -> Tensor:
    r"""Deviations of the best diagonal q(z | x), if the decoder changes evenly over its width.

    .. math::

        \hat \sigma_j = \frac{1}{\sqrt{1 + G_{jj}}}

    Where the decoder is linear and its noise normal, this is the best encoder. In general it is what the
    second-order expansion of :math:`\log p(x \mid z)` says, whose curvature is on average :math:`-G`.

    Parameters
    ----------
    information : Tensor, shape (..., J, J)
        What :func:`information` gives.

    Returns
    -------
    Tensor, shape (..., J)
        Between 0 and 1, the prior's own.

    References
    ----------
    Book: eq-best-width, eq-linear-encoder.
    """
    return torch.rsqrt(1 + information.diagonal(dim1=-2, dim2=-1))


def picture_kl(model: VAE, z: Tensor, other: Tensor) -> Tensor:
    r"""How different the pictures of two latents are, as distributions over images.

    .. math::

        \mathrm{KL}\bigl(p(x \mid z) \,\|\, p(x \mid z')\bigr)

    Parameters
    ----------
    model : VAE
    z, other : Tensor, shape (B, J)

    Returns
    -------
    Tensor, shape (B,)
        Nats, summed over the pixels.

    Raises
    ------
    ValueError
        If the decoder has a variance for each pixel.

    References
    ----------
    Book: def-kl, eq-bernoulli-kl.
    """
    with _still(model), torch.no_grad():
        q, p = model.decode(z), model.decode(other)
        if model.log_var is None:
            return bernoulli_kl(q, p)
        return diagonal_gaussian_kl(q, model.log_var, p, model.log_var)


def lengths(model: VAE, path: Tensor) -> Tensor:
    r"""How far the picture has come at each place of a path.

    .. math::

        s_k = \sum_{i=1}^{k} \sqrt{\delta_i^\top G(m_i) \, \delta_i}, \qquad
        \delta_i = z_i - z_{i-1}, \quad m_i = \frac{z_i + z_{i-1}}{2}

    In steps that change the picture by half a nat each; where the decoder is steep, such a step is about one
    deviation of q. It is the path's length as the places become many.

    Parameters
    ----------
    model : VAE
    path : Tensor, shape (K, J)
        Places in order; what :func:`vaelib.latent.interpolate` gives.

    Returns
    -------
    Tensor, shape (K,)
        From 0 on, never falling.

    Raises
    ------
    ValueError
        If the decoder has a variance for each pixel, or the path has no step.

    References
    ----------
    Book: def-decoder-information. Arvanitidis, Hansen and Hauberg (2018), for the length a decoder gives.
    """
    if path.ndim != 2 or len(path) < 2:
        raise ValueError(f"the path has shape {tuple(path.shape)}: give two places or more, (K, J)")
    steps = path[1:] - path[:-1]
    there = information(model, (path[1:] + path[:-1]) / 2)
    squares = torch.einsum("kj,kjl,kl->k", steps, there, steps)
    return torch.cat([squares.new_zeros(1), squares.clamp(min=0).sqrt().cumsum(0)])


def even_steps(path: Tensor, lengths: Tensor, count: int) -> Tensor:
    """Places on a path between which the picture changes equally much.

    Parameters
    ----------
    path : Tensor, shape (K, J)
    lengths : Tensor, shape (K,)
        What :func:`lengths` gives; at least its end is above 0.
    count : int
        How many places, both ends among them; two or more.

    Returns
    -------
    Tensor, shape (count, J)
        On the path, straight between its places.

    Raises
    ------
    ValueError
        If there are fewer than two places, or the picture never changes.
    """
    if count < 2:
        raise ValueError(f"count is {count}: a path has at least two ends")
    if not lengths[-1] > 0:
        raise ValueError("the picture is the same all along this path: there are no even steps")
    wanted = torch.linspace(0, 1, count, dtype=lengths.dtype, device=lengths.device) * lengths[-1]
    after = torch.searchsorted(lengths, wanted).clamp(1, len(lengths) - 1)
    gap = lengths[after] - lengths[after - 1]
    share = torch.where(gap > 0, (wanted - lengths[after - 1]) / gap, 0).clamp(0, 1).to(path.dtype)
    return torch.lerp(path[after - 1], path[after], share[:, None])


def _still(model: VAE) -> AbstractContextManager[None]:
    """``eval()`` mode for a while; ValueError for a decoder whose variance moves with z."""
    if model.pixel_variance:
        raise ValueError(
            "this decoder has a variance for each pixel, whose slope counts as well: not done here"
        )
    return eval_mode(model)
