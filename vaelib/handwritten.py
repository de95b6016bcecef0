"""The gradient of the MLP VAE's objective, written out: what autograd would find, in half the calls.

Every line below is a line of the chain rule, from the last layer back to the first. It is worth having since
a step of a small network is not bound by its matrix products: PyTorch's own bookkeeping takes as long again
(the book's page on speed measures it).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelib.models import VAE
from vaelib.networks import MLPDecoder, MLPEncoder
from vaelib.objectives import ElboTerms


def applies_to(model: VAE) -> bool:
    """Whether this is an MLP VAE with a normal posterior and a Bernoulli decoder, all of it trained."""
    return (
        isinstance(model.encoder, MLPEncoder)
        and isinstance(model.decoder, MLPDecoder)
        and model.likelihood == "bernoulli"
        and all(parameter.requires_grad for parameter in model.parameters())
    )


class _Room:
    """Where the numbers of a batch go, step after step: fresh memory would cost as much as what fills it."""

    def __init__(self, x: Tensor, hidden: int, latents: int) -> None:
        def empty(width: int) -> Tensor:
            return x.new_empty(len(x), width)

        self.h1, self.h2, self.of_a1, self.of_a2 = (empty(hidden) for _ in range(4))
        self.logits, self.of_logits, self.by_pixel = (empty(x.shape[1]) for _ in range(3))
        self.o, self.of_o = empty(2 * latents), empty(2 * latents)
        self.mean, self.log_var = self.o.chunk(2, dim=-1)
        self.of_mean, self.of_log_var = self.of_o.chunk(2, dim=-1)
        self.ones = x.new_ones(len(x))


class _Layer(NamedTuple):
    """The parameters of a layer and where their gradients go: looked up once, not at every step."""

    weight: Tensor
    transposed: Tensor
    bias: Tensor
    of_weight: Tensor
    of_bias: Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> "_Layer":
        weight, bias = layer.weight.detach(), layer.bias.detach()
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        return cls(weight, weight.T, bias, layer.weight.grad, layer.bias.grad)


class Backward:
    r"""Puts the gradient of the loss into every ``parameter.grad``, and gives the terms it is the loss of.

    .. math::

        L = -\frac{1}{N} \sum_{i} \left( \log p_\theta(x_i \mid z_i)
        - \beta \, \mathrm{KL}(q_\phi(z \mid x_i) \,\|\, p(z)) \right)

    With :math:`h_k = f(a_k)` for the hidden layers, :math:`o = (\mu, \log\sigma^2)`, :math:`\ell` the
    logits and a bar for the derivative of :math:`N L`:

    .. math::

        \bar\ell = \pi - x, \qquad
        \bar a_2 = \bar\ell W_4 \odot f'(a_2), \qquad
        \bar z = \bar a_2 W_3, \qquad
        \bar\mu = \bar z + \beta \mu, \qquad
        \overline{\log \sigma^2} = \tfrac{1}{2} \left( \bar z \odot \sigma \odot \epsilon
        + \beta (\sigma^2 - 1) \right), \qquad
        \bar a_1 = \bar o \, W_2 \odot f'(a_1)

    and the gradient of each matrix is the bar of what came out of its layer, times what went in, over N.

    Parameters
    ----------
    model : VAE
        One that :func:`applies_to`.

    References
    ----------
    Book: eq-backward-logits, eq-backward-latent. Rumelhart, Hinton and Williams (1986).
    """

    def __init__(self, model: VAE) -> None:
        self._f, self._df = _ACTIVATIONS[model.settings["activation"]]
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._layers = [
            _Layer.of(layer)
            for network in (model.encoder, model.decoder)
            if isinstance(network, MLPEncoder | MLPDecoder)
            for layer in (network.hidden, network.output)
        ]
        self._rooms: dict[int, _Room] = {}

    @torch.inference_mode()
    def __call__(self, x: Tensor, noise: Tensor, beta: float, images: int) -> ElboTerms:
        """Take images (B, D) and noise (B, J), and the number N of images that the loss is a mean over."""
        one, two, three, four = self._layers
        room = self._rooms.get(len(x))
        if room is None:
            room = self._rooms[len(x)] = _Room(x, len(one.bias), noise.shape[1])
        mean, log_var, of_o = room.mean, room.log_var, room.of_o

        h1 = self._f(torch.mm(x, one.transposed, out=room.h1).add_(one.bias))
        torch.addmm(two.bias, h1, two.transposed, out=room.o)
        sigma = torch.exp(0.5 * log_var)
        z = torch.addcmul(mean, sigma, noise)
        h2 = self._f(torch.addmm(three.bias, z, three.transposed, out=room.h2))
        logits = torch.mm(h2, four.transposed, out=room.logits).add_(four.bias)
        by_pixel = torch.ops.aten.softplus.out(logits, out=room.by_pixel).addcmul_(x, logits, value=-1)
        excess = torch.expm1(log_var)  # sigma^2 - 1
        terms = ElboTerms(
            log_likelihood=by_pixel.sum(-1).neg_(),
            kl=torch.addcmul(excess, mean, mean).sub_(log_var).sum(-1).mul_(0.5),
        )

        of_logits = torch.sigmoid(logits, out=room.of_logits).sub_(x)
        of_a2 = self._df(torch.mm(of_logits, four.weight, out=room.of_a2), h2)
        of_z = torch.mm(of_a2, three.weight)
        torch.add(of_z, mean, alpha=beta, out=room.of_mean)
        torch.mul(of_z.mul_(sigma).mul_(noise).add_(excess, alpha=beta), 0.5, out=room.of_log_var)
        of_a1 = self._df(torch.mm(of_o, two.weight, out=room.of_a1), h1)
        for layer, out, into in ((four, of_logits, h2), (three, of_a2, z), (two, of_o, h1), (one, of_a1, x)):
            torch.addmm(layer.of_weight, out.T, into, beta=0, alpha=1 / images, out=layer.of_weight)
            torch.addmv(layer.of_bias, out.T, room.ones, beta=0, alpha=1 / images, out=layer.of_bias)
        return terms


def _relu_backward(after: Tensor, h: Tensor) -> Tensor:
    torch.ops.aten.threshold_backward.grad_input(after, h, 0, grad_input=after)
    return after


def _tanh_backward(after: Tensor, h: Tensor) -> Tensor:
    torch.ops.aten.tanh_backward.grad_input(after, h, grad_input=after)
    return after


# An activation, and the derivative of the loss before it from that behind it; both in place.
_ACTIVATIONS = {"relu": (torch.relu_, _relu_backward), "tanh": (torch.tanh_, _tanh_backward)}
