"""Models that differ in the weight of the KL term: distortion against rate, and what each of them draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import torch
import traitlets

from vaelib.data import Images
from vaelib.divergences import gaussian_kl
from vaelib.evaluation import encode, evaluate
from vaelib.models import VAE
from vaelib.units import entropy_floor
from vaelib.widgets.core import Real, Widget, module
from vaelib.widgets.latent_pad import halves
from vaelib.widgets.latent_traversal import ACTIVE
from vaelib.widgets.weights import Weights


class BetaFamily(Widget):
    r"""Models trained at several weights of the KL term, each a point of the plane of rate and distortion.

    .. math::

        \mathcal J_\beta = -(\text{distortion} + \beta \, \text{rate}), \qquad
        \mathcal L = -(\text{distortion} + \text{rate})

    Through the chosen model go the line on which its own objective is constant, of slope :math:`-\beta`, and
    the one on which the ELBO is. Its decoder shows what it makes of an image of each class, and of draws from
    the prior. A page loads a decoder when its model is first chosen.

    Parameters
    ----------
    models : mapping from float to VAE
        By the weight :math:`\beta` that each was trained at; with as many latents all.
    images : Images
        Over which the numbers are measured, one draw for each image; the first of each class is shown.
    seed : int
        Of those draws, the same for every model.
    **values
        Any of the traits below.

    Attributes
    ----------
    beta : float
        Of the chosen model; at the start the one nearest to 1.
    latent : {"draw", "mean"}
        What is decoded for an image: a draw from q(z | x), or its mean.
    draws : int, from 1 to 99
        Which draws, for the images and from the prior; all models get the same noise.
    betas, distortions, rates : list of float
        Of the models, in the order of their weights; nats, means over the images.
    unit_rates : list of list of float
        The rate of each latent of each model, in nats.
    active : list of list of bool
        Whether its mean varies over the images: :math:`\operatorname{Var}_x\,\mathbb E_q[z_j] > 0.01`.
    floor : float
        The entropy of the pixels in nats, which no distortion can go below.

    Raises
    ------
    ValueError
        If there are fewer than two models, or they have not as many latents and pixels all, or a weight is
        not positive.

    References
    ----------
    Book: def-minibatch. Higgins et al. (2017); Alemi et al. (2018) for the plane.
    """

    _esm = module("beta_family")
    decoders: traitlets.List[Weights] = traitlets.List(traitlets.Instance(Weights)).tag(
        sync=True, **ipywidgets.widget_serialization
    )
    betas: traitlets.List[float] = traitlets.List(traitlets.Float()).tag(sync=True)
    distortions: traitlets.List[float] = traitlets.List(traitlets.Float()).tag(sync=True)
    rates: traitlets.List[float] = traitlets.List(traitlets.Float()).tag(sync=True)
    unit_rates: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    active: traitlets.List[list[bool]] = traitlets.List().tag(sync=True)
    floor = traitlets.Float().tag(sync=True)
    pictures = traitlets.Bytes().tag(sync=True)
    labels: traitlets.List[int] = traitlets.List(traitlets.Int()).tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)
    beta = Real(1.0, min=0, max=1e6).tag(sync=True, share=True)
    latent = traitlets.Enum(["draw", "mean"], "draw").tag(sync=True, share=True)
    draws = traitlets.Int(1, min=1, max=99).tag(sync=True, share=True)

    def __init__(self, models: Mapping[float, VAE], images: Images, *, seed: int = 0, **values: Any) -> None:
        betas = sorted(models)
        if len(betas) < 2 or betas[0] <= 0:
            raise ValueError(f"a family has two models or more, of positive weights: these are {betas}")
        if len({(model.latent_dim, model.settings["data_dim"]) for model in models.values()}) > 1:
            raise ValueError("the models of a family have as many latents and pixels all, and these have not")
        found = sorted(set(images.labels.tolist()))
        shown = images[torch.tensor([int((images.labels == label).nonzero()[0]) for label in found])]
        measured, unit_rates, active, codes = [], [], [], []
        for beta in betas:
            measured.append(evaluate(models[beta], images, generator=torch.Generator().manual_seed(seed)))
            mean, log_var = encode(models[beta], images)
            unit_rates.append(gaussian_kl(mean[..., None], log_var[..., None]).mean(0).tolist())
            active.append((mean.var(0) > ACTIVE).tolist())
            mean, log_var = encode(models[beta], shown)
            codes.append(torch.stack([mean, (0.5 * log_var).exp()]))
        values.setdefault("beta", min(betas, key=lambda beta: abs(beta - 1)))
        super().__init__(
            decoders=[Weights(models[beta], "decoder") for beta in betas],
            betas=betas,
            distortions=[one.distortion for one in measured],
            rates=[one.rate for one in measured],
            unit_rates=unit_rates,
            active=active,
            floor=entropy_floor(images.floats()).mean().item(),
            pictures=shown.pixels.contiguous().numpy().tobytes(),
            labels=found,
            codes=halves(torch.stack(codes)),
            **values,
        )
        # Which weights there are is known only now, so a link may ask for these and no others.
        self._schema = self._schema | {"beta": {"type": "choice", "of": betas}}

    @traitlets.validate("beta")
    def _one_of_the_family(self, proposal: Any) -> Any:
        if proposal["value"] not in self.betas:
            raise traitlets.TraitError(
                f"no model was trained at the weight {proposal['value']}: there are {self.betas}"
            )
        return proposal["value"]
