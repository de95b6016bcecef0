"""Trained weights, small enough for a page: large matrices in 8 bits by row, small ones in half precision."""

from __future__ import annotations

import copy
from typing import Any

import ipywidgets
import torch
import traitlets
from torch import Tensor

from vaelib.models import VAE

# A matrix from this size on is worth a byte for each entry; below, half precision costs next to nothing.
LARGE = 4096


def quantize(matrix: Tensor) -> tuple[Tensor, Tensor]:
    r"""Round each row of a matrix to 255 levels.

    .. math::

        s_i = \frac{\max_j |w_{ij}|}{127}, \qquad q_{ij} = \operatorname{round} \frac{w_{ij}}{s_i}, \qquad
        w_{ij} \approx q_{ij} s_i

    Parameters
    ----------
    matrix : Tensor, shape (R, C)

    Returns
    -------
    whole : Tensor of int8, shape (R, C)
        q.
    scales : Tensor of float16, shape (R,)
        s, rounded before q is chosen, so that the page multiplies by the numbers that were meant.
    """
    scales = (matrix.abs().amax(1) / 127).to(torch.float16)
    # A row of zeros needs some scale; one rounded down may leave its largest entry beyond 127.
    scales = torch.where(scales > 0, scales, torch.finfo(torch.float16).smallest_normal)
    whole = (matrix / scales.float()[:, None]).round().clamp(-127, 127)
    return whole.to(torch.int8), scales


def pack(model: VAE, *, encoder: bool = True) -> tuple[bytes, list[dict[str, Any]]]:
    """Lay a model's weights out as bytes, and say where each tensor stands.

    Parameters
    ----------
    model : VAE
    encoder : bool
        Whether the page needs the encoder too: it is half of the bytes.

    Returns
    -------
    data : bytes
        Little-endian.
    layout : list of dict
        ``name``, ``shape``, ``kind`` ("int8" or "float16"), ``offset`` in bytes, and for "int8" that of the
        rows' ``scales``, which are float16.
    """
    data = bytearray()
    layout: list[dict[str, Any]] = []

    def put(tensor: Tensor) -> int:
        offset = len(data)
        data.extend(tensor.contiguous().numpy().tobytes())
        return offset

    for name, tensor in model.state_dict().items():
        if not encoder and name.startswith("encoder."):
            continue
        tensor = tensor.detach().cpu().float()
        entry: dict[str, Any] = {"name": name, "shape": list(tensor.shape)}
        if tensor.ndim == 2 and tensor.numel() >= LARGE:
            whole, scales = quantize(tensor)
            entry |= {"kind": "int8", "offset": put(whole), "scales": put(scales)}
        else:
            entry |= {"kind": "float16", "offset": put(tensor.to(torch.float16))}
        layout.append(entry)
    return bytes(data), layout


def as_the_page_has_it(model: VAE) -> VAE:
    """Return a copy whose weights are those that :func:`pack` leaves: what the browser computes with."""
    twin = copy.deepcopy(model).cpu()
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            if tensor.ndim == 2 and tensor.numel() >= LARGE:
                whole, scales = quantize(tensor)
                tensor.copy_(whole.float() * scales.float()[:, None])
            else:
                tensor.copy_(tensor.to(torch.float16))
    return twin


class Weights(ipywidgets.Widget):  # type: ignore[misc]
    """A model's weights, which several widgets may share; it has no view of its own.

    Parameters
    ----------
    model : VAE
        Built by :func:`vaelib.models.mlp_vae`, with a Bernoulli decoder.
    encoder : bool
        Whether to carry the encoder.

    Raises
    ------
    ValueError
        If the widgets do not know the architecture.
    """

    data = traitlets.Bytes().tag(sync=True)
    layout: traitlets.List[Any] = traitlets.List().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)

    def __init__(self, model: VAE, *, encoder: bool = True) -> None:
        kind = (model.settings.get("architecture"), model.likelihood)
        if kind != ("mlp", "bernoulli"):
            raise ValueError(
                f"the widgets run the MLP VAE with a Bernoulli decoder; this is {kind[0]} with {kind[1]}"
            )
        data, layout = pack(model, encoder=encoder)
        super().__init__(data=data, layout=layout, settings=model.settings)


def check_latents(model: VAE, count: int) -> None:
    """Refuse a model that a widget cannot show.

    Raises
    ------
    ValueError
        If it has not ``count`` latents.
    """
    if model.latent_dim != count:
        raise ValueError(f"this widget shows {count} latents, and the model has {model.latent_dim}")
