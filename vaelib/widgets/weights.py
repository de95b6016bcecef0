"""Trained weights, small enough for a page: large matrices in 8 bits by row, small ones in half precision."""

from __future__ import annotations

import copy
from typing import Any, Literal

import ipywidgets
import torch
import traitlets
from torch import Tensor

from vaelib.models import VAE

Part = Literal["encoder", "decoder"]


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


def pack(model: VAE, part: Part) -> tuple[bytes, list[dict[str, Any]]]:
    """Lay the weights of one half of a model out as bytes, and say where each tensor stands.

    Parameters
    ----------
    model : VAE
    part : {"encoder", "decoder"}
        Halves, since most widgets need only one.

    Returns
    -------
    data : bytes
        Little-endian.
    tensors : list of dict
        ``name``, ``shape``, ``kind`` ("int8" or "float16"), ``offset`` in bytes, and for "int8" that of the
        rows' ``scales``, which are float16.
    """
    data = bytearray()
    tensors: list[dict[str, Any]] = []

    def put(tensor: Tensor) -> int:
        offset = len(data)
        data.extend(tensor.contiguous().numpy().tobytes())
        return offset

    for name, tensor in getattr(model, part).state_dict().items():
        tensor = tensor.detach().cpu().float()
        entry: dict[str, Any] = {"name": name, "shape": list(tensor.shape)}
        if is_large(tensor):
            whole, scales = quantize(tensor)
            entry |= {"kind": "int8", "offset": put(whole), "scales": put(scales)}
        else:
            entry |= {"kind": "float16", "offset": put(tensor.to(torch.float16))}
        tensors.append(entry)
    return bytes(data), tensors


def is_large(tensor: Tensor) -> bool:
    """Whether a tensor is worth eight bits: below that size, half precision costs next to nothing."""
    return tensor.ndim == 2 and tensor.numel() >= 4096


def as_the_page_has_it(model: VAE) -> VAE:
    """Return a copy whose weights are those that :func:`pack` leaves: what the browser computes with."""
    twin = copy.deepcopy(model).cpu()
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            if is_large(tensor):
                whole, scales = quantize(tensor)
                tensor.copy_(whole.float() * scales.float()[:, None])
            else:
                tensor.copy_(tensor.to(torch.float16))
    return twin


class Weights(ipywidgets.Widget):  # type: ignore[misc]
    """The weights of an encoder or a decoder, which several widgets may share; it has no view of its own.

    Parameters
    ----------
    model : VAE
        Built by :func:`vaelib.models.mlp_vae`, with a Bernoulli decoder.
    part : {"encoder", "decoder"}

    Raises
    ------
    ValueError
        If the widgets do not know the architecture.
    """

    data = traitlets.Bytes().tag(sync=True)
    tensors: traitlets.List[Any] = traitlets.List().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)

    def __init__(self, model: VAE, part: Part) -> None:
        kind = (model.settings.get("architecture"), model.likelihood)
        if kind != ("mlp", "bernoulli"):
            raise ValueError(
                f"the widgets run the MLP VAE with a Bernoulli decoder; this is {kind[0]} with {kind[1]}"
            )
        data, tensors = pack(model, part)
        super().__init__(data=data, tensors=tensors, settings=model.settings)


def half() -> traitlets.Instance[Weights]:
    """A trait that holds a half of a model; in a page its bytes are loaded when the widget asks for them."""
    return traitlets.Instance(Weights).tag(sync=True, **ipywidgets.widget_serialization)


def check_latents(model: VAE, count: int) -> None:
    """Refuse a model that a widget cannot show.

    Raises
    ------
    ValueError
        If it has not ``count`` latents.
    """
    if model.latent_dim != count:
        raise ValueError(f"this widget shows {count} latents, and the model has {model.latent_dim}")
