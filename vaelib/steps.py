"""One step of training: from a batch and its noise to moved weights, on whatever there is to compute with."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel
from torch.optim.adam import adam

from vaelib import handwritten
from vaelib.models import VAE
from vaelib.objectives import ElboTerms, floored_kl, terms_of
from vaelib.parallel import World, world
from vaelib.settings import Precision, Recipe

# From images and noise, the KL term's weight and the number of images in the whole batch, to the terms.
Step = Callable[[Tensor, Tensor, float, int], ElboTerms]
# From a function, to what carries it out again and the tensors in which it leaves its result.
Record = Callable[[Callable[[], ElboTerms]], tuple[Callable[[], Any], ElboTerms]]

# Adam's averages of gradients and of their squares that are smaller move no weight, which 1e-8 in the
# denominator sees to; below 1e-38 a CPU takes some hundred times as long for them.
_VANISHING = {"exp_avg": 1e-20, "exp_avg_sq": 1e-30}

# Steps that are taken one by one before one is recorded: libraries set themselves up in the first.
_WARM_UP = 3


class Optimizer(Protocol):
    """What is used of a ``torch.optim.Optimizer``."""

    param_groups: list[dict[str, Any]]
    state: Any

    def step(self) -> Any:
        """Move the parameters by their gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors of each parameter, by its number, in ``"state"``."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take those tensors back."""


class Adam:
    r"""Adam, or AdamW, as PyTorch's function computes it, its state at hand.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        \theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + 10^{-8}}

    ``torch.optim.Adam`` takes the same steps. But it lists its tensors anew at each, which for a small
    network takes half as long again as the step, and being made it loads PyTorch's compiler, for most of a
    second.

    Parameters
    ----------
    parameters : list of Tensor
    learning_rate : float
    weight_decay : float
        Added to the gradient in units of the weights, or with ``decoupled`` to the weights in units of the
        step size.
    decoupled : bool
        AdamW.

    References
    ----------
    Kingma and Ba (2015), algorithm 1. Loshchilov and Hutter (2019), algorithm 2.
    """

    def __init__(
        self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float, *, decoupled: bool
    ) -> None:
        device = parameters[0].device
        on_gpu = device.type == "cuda"  # what a graph reads must lie on the device
        self.parameters: list[Tensor] = list(parameters)
        self.param_groups: list[dict[str, Any]] = [
            {"lr": torch.tensor(learning_rate, device=device) if on_gpu else learning_rate}
        ]
        self._settings: dict[str, Any] = {
            "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled, "amsgrad": False, "maximize": False,
            "fused": device.type != "mps", "capturable": on_gpu,
        }  # fmt: skip
        self._take(
            {
                "step": torch.zeros((), device=device if on_gpu else "cpu"),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
            for parameter in parameters
        )

    def _take(self, states: Iterable[dict[str, Tensor]]) -> None:
        self.state = dict(zip(self.parameters, states, strict=True))
        means, squares, steps = (
            [state[name] for state in self.state.values()] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        self._lists: Any = (means, squares, [], steps)

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradients."""
        gradients: Any = [parameter.grad for parameter in self.parameters]
        adam(self.parameters, gradients, *self._lists, lr=self.param_groups[0]["lr"], **self._settings)

    def state_dict(self) -> dict[str, Any]:
        """Tensors of each parameter, by its number, in ``"state"``, as ``torch.optim.Adam`` has them."""
        return {"state": dict(enumerate(self.state.values()))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take those tensors back."""
        states = state_dict["state"]
        self._take(
            {name: kept.to(state[name].device).clone() for name, kept in states[number].items()}
            for number, state in enumerate(list(self.state.values()))
        )


def optimizer_for(model: VAE, recipe: Recipe) -> Optimizer:
    """Make the optimiser that a recipe names, fused where PyTorch can."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if recipe.optimizer == "adagrad":
        fused = trained[0].device.type != "mps"
        return torch.optim.Adagrad(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused
        )
    decoupled = recipe.optimizer == "adamw"
    return Adam(trained, recipe.learning_rate, recipe.weight_decay, decoupled=decoupled)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the step size of all parameters, in its place where it lies on the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def drop_vanishing_moments(optimizer: Optimizer) -> None:
    r"""Set averages of Adam's to 0 that are too small to move a weight.

    .. math::

        |m| < 10^{-20} \;\Rightarrow\; \eta \frac{|m|}{\sqrt{v} + 10^{-8}} < 10^{-12} \, \eta

    The weights of a pixel that is always black, or of a unit that is never on, have averages that only decay,
    until they are denormal numbers.
    """
    for state in optimizer.state.values():
        for name, least in _VANISHING.items():
            if name in state:
                state[name].copy_(F.hardshrink(state[name], least))


@contextmanager
def products_in(precision: Precision, model: VAE) -> Iterator[None]:
    """Compute products in this precision.

    On a CPU, factors of matrix products are rounded on their way in, and the sums come back in 32 bits; where
    the processor has no instructions for that, nothing changes. Convolutions, and all on a GPU, are left to
    autocast, which rounds the sums as well.
    """
    device = next(model.parameters()).device.type
    convolves = any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in model.modules())
    if precision == "fp32":
        yield
    elif device != "cpu" or convolves:
        with torch.autocast(device, torch.bfloat16):
            yield
    else:
        setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        before = setting.fp32_precision
        setting.fp32_precision = "bf16"
        try:
            yield
        finally:
            setting.fp32_precision = before


class _Objective(nn.Module):
    """The loss of one process's rows of a batch, as a module, since that is what processes can share."""

    def __init__(self, model: VAE, recipe: Recipe, processes: int) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.processes = processes

    def forward(self, x: Tensor, noise: Tensor, beta: float, images: int) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, log-likelihoods and KL terms."""
        mean, log_var = self.model.encode(x)
        terms = terms_of(self.model, x, mean, log_var, noise)
        priced = terms
        if self.recipe.free_bits > 0:
            priced = terms._replace(kl=floored_kl(mean, log_var, self.recipe.free_bits))
        # DistributedDataParallel takes the mean of the processes' gradients, and the loss is one over images.
        loss = -priced.weighted(beta).sum() * (self.processes / images)
        return loss, terms.log_likelihood, terms.kl


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes' rows: PyTorch's own of that kind is for GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world().size == 1:
            return super().forward(input)
        x = input.float()
        rows = x.transpose(0, 1).flatten(1)
        count = rows.new_full((self.num_features,), rows.shape[1])
        sums = torch.stack([rows.sum(1), rows.square().sum(1), count])
        total, squares, n = all_reduce(sums)  # type: ignore[no-untyped-call]
        mean = total / n
        variance = squares / n - mean.square()
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            for kept, new in ((self.running_mean, mean), (self.running_var, variance * n / (n - 1))):
                assert kept is not None
                kept.lerp_(new, self.momentum or 0.0)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        y = (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        normalised: Tensor = y.to(input.dtype)
        return normalised


def _share_batch_norms(model: nn.Module) -> None:
    """Let every batch normalisation of a model take its statistics from all processes, in place."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.BatchNorm2d:
                shared = _SharedBatchNorm(layer.num_features, eps=layer.eps, momentum=layer.momentum)
                shared.weight, shared.bias = layer.weight, layer.bias
                shared.load_state_dict(layer.state_dict())
                setattr(parent, name, shared.train(layer.training))


def step_for(model: VAE, recipe: Recipe, optimizer: Optimizer, world: World) -> Step:
    """Choose how a step is taken.

    An MLP's gradient is written out; any other is autograd's. Several processes add up theirs. On a CUDA GPU
    steps of one process are recorded once and replayed.
    """
    device = next(model.parameters()).device
    plain = device.type == "cpu" or recipe.precision == "fp32"  # autocast is autograd's
    if world.size == 1 and plain and recipe.free_bits == 0 and handwritten.applies_to(model):
        gradient: Step = handwritten.Backward(model)
    else:
        gradient = _autograd(model, recipe, world)

    def step(x: Tensor, noise: Tensor, beta: float, images: int) -> ElboTerms:
        terms = gradient(x, noise, beta, images)
        optimizer.step()
        return terms

    if device.type == "cuda" and world.size == 1 and recipe.optimizer != "adagrad":
        return Replayed(step, _cuda_graph)
    return step


def _autograd(model: VAE, recipe: Recipe, world: World) -> Step:
    objective: nn.Module = _Objective(model, recipe, world.size)
    if world.size > 1:
        if next(model.parameters()).device.type == "cuda":
            objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]
        else:
            _share_batch_norms(model)
        objective = DistributedDataParallel(objective)
    parameters = list(model.parameters())

    def gradient(x: Tensor, noise: Tensor, beta: float, images: int) -> ElboTerms:
        loss, log_likelihood, kl = objective(x, noise, beta, images)
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        return ElboTerms(log_likelihood.detach(), kl.detach())

    return gradient


class Replayed:
    """A step that is recorded once it repeats, and then replayed: a GPU is told a step's work in one call.

    Parameters
    ----------
    step : Step
        All of its work must be on the device.
    record : callable
        Given a function, what carries out again all that it would do, and what it gives: tensors that every
        replay overwrites. It does not carry it out yet.
    """

    def __init__(self, step: Step, record: Record) -> None:
        self._step, self._record = step, record
        self._last: Any = None
        self._times = 0
        self._recorded: Any = None

    def __call__(self, x: Tensor, noise: Tensor, beta: float, images: int) -> ElboTerms:
        """Take the step; one that is not like the recorded one, as an epoch's last, by itself."""
        kind = (x.shape, beta, images)
        if kind != self._recorded:
            self._times = self._times + 1 if kind == self._last else 1
            self._last = kind
            if self._times <= _WARM_UP:
                return self._step(x, noise, beta, images)
            self._x, self._noise = x.clone(), noise.clone()
            self._replay, self._terms = self._record(lambda: self._step(self._x, self._noise, beta, images))
            self._recorded = kind
        self._x.copy_(x)
        self._noise.copy_(noise)
        self._replay()
        return ElboTerms(*(term.clone() for term in self._terms))


def _cuda_graph(function: Callable[[], ElboTerms]) -> tuple[Callable[[], None], ElboTerms]:
    """Record what a function does on the GPU, without doing it."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        terms = function()
    return graph.replay, terms
