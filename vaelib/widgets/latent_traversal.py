"""One slider for each latent, sorted by its KL, with a strip of decodings along each."""

from __future__ import annotations

from typing import Any

import traitlets

from vaelib.data import Images
from vaelib.divergences import gaussian_kl
from vaelib.evaluation import encode
from vaelib.models import VAE
from vaelib.widgets.core import Real, Widget, module
from vaelib.widgets.weights import Weights, half

# Burda, Grosse and Salakhutdinov's: a unit whose mean varies less than this over the data says nothing of it.
ACTIVE = 0.01


class LatentTraversal(Widget):
    r"""What each latent does to the decoded image while the others stay.

    .. math::

        \mathbb E[x \mid z_1, \dots, z_j = v, \dots, z_J], \qquad v \in [-3, 3]

    Units are sorted by their mean KL over the images; one with
    :math:`\operatorname{Var}_x\,\mathbb E_q[z_j] \le 0.01` is called inactive.

    Parameters
    ----------
    model : VAE
        With any number of latents.
    images : Images
        Over which KL and activity are taken; the first of each class is a place to start from.
    **values
        Any of the traits below.

    Attributes
    ----------
    z : list of float, in [-4, 4]
        The latent that is decoded.
    rates : list of float
        Nats, for each unit: the mean of KL(q(z_j | x) || p(z_j)).
    active : list of bool
    starts : list of list of float
        The means of one image of each class.

    References
    ----------
    Book: def-manifold. Burda, Grosse and Salakhutdinov (2016), section 5.3, for active units.
    """

    _esm = module("latent_traversal")
    decoder = half()
    rates: traitlets.List[float] = traitlets.List(Real()).tag(sync=True)
    active: traitlets.List[bool] = traitlets.List(traitlets.Bool()).tag(sync=True)
    starts: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    z = traitlets.List(Real(min=-4, max=4)).tag(sync=True, share=True)

    def __init__(self, model: VAE, images: Images, **values: Any) -> None:
        mean, log_var = encode(model, images)
        found = sorted(set(images.labels.tolist()))
        first = [int((images.labels == label).nonzero()[0]) for label in found]
        # A mean beyond the sliders would be a start that no slider can show.
        starts = mean[first].clamp(-4, 4)
        values.setdefault("z", [0.0] * model.latent_dim)
        super().__init__(
            decoder=Weights(model, "decoder"),
            rates=gaussian_kl(mean[..., None], log_var[..., None]).mean(0).tolist(),
            active=(mean.var(0) > ACTIVE).tolist(),
            starts=[[round(value, 3) for value in start] for start in starts.tolist()],
            **values,
        )
        exact = {"least": model.latent_dim, "most": model.latent_dim}
        self._schema = self._schema | {"z": self._schema["z"] | exact}

    @traitlets.validate("z")
    def _as_many_as_the_model_has(self, proposal: Any) -> Any:
        wanted = self.decoder.settings["latent_dim"]
        if len(proposal["value"]) != wanted:
            found = len(proposal["value"])
            raise traitlets.TraitError(f"z has {found} entries: the model has {wanted} latents")
        return proposal["value"]
