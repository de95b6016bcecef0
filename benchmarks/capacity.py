"""How much of its latent a VAE uses, and what decides it: 28 small models, one after the other.

Four questions, and the models that answer them; all have one hidden layer of 200 tanh units on each side.

  variance     A Gaussian decoder with 100 latents and a deviation that is held fixed, from what a squared
               error averaged over the pixels assumes (19.8) down to 0.1; and one that is learned. The linear
               VAE says how many directions of the data lie above the variance: how many does a network use?
  cures        Two of these collapse, one altogether (9.9) and one in part (1). What do a weight on the KL
               term, a KL warm-up and free bits change?
  capacity     A Bernoulli decoder with 1, 2, 4, ..., 64 latents: distortion, rate, active units.
  autoencoder  A VAE and, of the same network, an autoencoder: no noise, no KL term. With 2 and with 16
               latents, trained for more than three times as long as the others: where do draws from the
               prior fall, and how probable is an image?
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn
from tqdm import tqdm

from vaelib import aggregate, linear
from vaelib.data import Images, load_mnist
from vaelib.divergences import full_gaussian_kl
from vaelib.evaluation import decode, encode, evaluate, refine
from vaelib.models import VAE, mlp_vae, reparameterize
from vaelib.objectives import ElboTerms, importance_weighted_bound
from vaelib.results import FOLDER
from vaelib.runs import versions, write_json
from vaelib.settings import Recipe
from vaelib.training import fit

RESULT = FOLDER / "capacity.json"
COMMAND = "python -m benchmarks.capacity"
ABOUT = "How much of its latent a VAE uses. Trained by us; found is measured on MNIST's test set."
UNIT = (
    "nats per image; squared_error is summed over an image's pixels on [0, 1]; sigma is the decoder's "
    "deviation there; active units and directions are counts; holes are shares of draws; seconds are those "
    "of training alone, on a machine that had other work too"
)
SIGMAS = (19.8, 9.9, 2.4, 2.0, 1.4, 1.0, 0.7, 0.5, 0.313, 0.1)
LATENTS = (1, 2, 4, 8, 16, 32, 64)
MANY = 100  # latents of the Gaussian decoders: more than any of the questions needs
# Test images of which the evidence is taken, and training images among whose codes the nearest is looked for:
# the first ones.
FEW, CODES = 300, 20_000
WIDER = 1.2  # than the best q: the deviation that importance sampling draws with
SHOWN, DRAWN = 2_000, 12  # codes and pictures that are kept for the page
EPILOG = f"""
examples:
  {COMMAND}                              all that is missing: a quarter of an hour in all
  {COMMAND} --list                       what would be trained, and what is there
  {COMMAND} --only cures                 one question
  {COMMAND} --only capacity/16 --again   one model, though it is there
  {COMMAND} --epochs 1 --images 5000 --out /tmp/capacity.json
                                         the whole at a hundredth of the price, to see that it works

It may be stopped at any time (Ctrl-C). A model that was finished is in the file, written in one step after
each of them, and is not trained again: the same command goes on with the next. The same settings give the
same numbers on the same machine with as many threads.
"""


@dataclass(frozen=True)
class Plan:
    """One model: what is asked of it, its settings for ``mlp_vae``, and its recipe."""

    question: str
    model: Mapping[str, Any]
    recipe: Recipe


def plans(*, epochs: int = 6, hidden: int = 200, seed: int = 0) -> dict[str, Plan]:
    """All models by name, ``question/which``, in the order in which they are trained."""
    recipe = Recipe(epochs=epochs, batch_size=250, learning_rate=5e-3, precision="bf16", seed=seed)
    found: dict[str, Plan] = {}

    def add(name: str, model: Mapping[str, Any], **changes: Any) -> None:
        question = name.partition("/")[0]
        settings = {"hidden_dim": hidden, **model}
        found[name] = Plan(question, settings, dataclasses.replace(recipe, **changes))

    def gaussian(sigma: float | None) -> dict[str, Any]:
        # PyTorch's own start for the layer that reads z: with 100 latents its units bend as it is.
        return {"likelihood": "gaussian", "latent_dim": MANY, "sigma": sigma, "latent_gain": 1.0}

    for sigma in SIGMAS:
        add(f"variance/{sigma:g}", gaussian(sigma))
    add("variance/learned", gaussian(None))
    # The weight that brings the water, beta sigma^2, down to about a tenth.
    for sigma, beta in ((9.9, 0.001), (1.0, 0.1)):
        add(f"cures/{sigma:g}/weight", gaussian(sigma), beta=beta)
        add(f"cures/{sigma:g}/warm-up", gaussian(sigma), beta_warmup_epochs=epochs / 2)
        add(f"cures/{sigma:g}/free-bits", gaussian(sigma), free_bits=0.1)
    for latents in LATENTS:
        add(f"capacity/{latents}", {"latent_dim": latents})
    longer = {"epochs": math.ceil(10 * epochs / 3)}
    for latents in (2, 16):
        add(f"autoencoder/{latents}/normal", {"latent_dim": latents}, **longer)
        add(f"autoencoder/{latents}/point", {"latent_dim": latents, "posterior": "point"}, beta=0.0, **longer)
    return found


def settings_of(plan: Plan, images: int) -> dict[str, Any]:
    """What decides the weights: a row with the same settings need not be trained again."""
    recipe = dataclasses.asdict(plan.recipe)
    return json.loads(json.dumps({"model": dict(plan.model), "recipe": recipe, "images": images}))  # type: ignore[no-any-return]


# --- measures -------------------------------------------------------------------------------------------


def predicted(plan: Plan, eigenvalues: Tensor) -> dict[str, float] | None:
    r"""What a linear VAE would do in the place of the network, if its decoder's deviation is fixed.

    The water stands at :math:`\beta \sigma^2`, and latents that are too few leave dry land without one.
    """
    sigma = plan.model.get("sigma")
    if sigma is None:
        return None
    latents, level = plan.model["latent_dim"], plan.recipe.beta * sigma**2
    first, rest = eigenvalues[:latents], eigenvalues[latents:]
    return {
        "level": level,
        "directions": linear.active_units(first, level),
        "rate": linear.rates(first, level).sum().item(),
        "squared_error": (linear.squared_errors(first, level).sum() + rest.sum()).item(),
    }


def directions(mean: Tensor) -> int:
    r"""Directions of the latent space along which the means move: active units whatever the axes.

    .. math::

        \#\bigl\{ j : \lambda_j\bigl(\operatorname{Cov}_x \mathbb E_{q(z \mid x)}[z]\bigr) > 0.01 \bigr\}

    To turn the latents costs next to nothing, and a direction that is shared among a hundred of them may
    leave each below the threshold, or lift all above it.

    Parameters
    ----------
    mean : Tensor, shape (N, J)
    """
    return linear.active_units(linear.spectrum(linear.moments(mean).covariance).eigenvalues, aggregate.ACTIVE)


def nearest(points: Tensor, codes: Tensor) -> Tensor:
    """Distance from each point (K, J) to the nearest of the codes (N, J), shape (K,)."""
    return torch.cat([torch.cdist(part, codes).amin(1) for part in torch.split(points, 500)])


def holes(codes: Tensor, held_out: Tensor, draws: Tensor) -> float:
    """Share of draws that lie farther from every code than 99 in 100 codes of images never seen do.

    One in a hundred if draws come from where codes come from; the rest of them fell where no image was.

    Parameters
    ----------
    codes, held_out, draws : Tensor, shape (N, J), (M, J) and (K, J)
        Codes of training images, of others, and the draws to be judged.
    """
    usual = torch.quantile(nearest(held_out, codes), 0.99)
    return (nearest(draws, codes) > usual).double().mean().item()


def evidence_on_grid(
    model: VAE, x: Tensor, mean: Tensor, covariance: Tensor, *, cells: int = 300, reach: float = 5.5
) -> Tensor:
    r"""Log-evidence of each image under a decoder of two latents, the latent normal: by quadrature.

    .. math::

        \log \int p_\theta(x \mid z) \, \mathcal N(z; m, C) \, dz, \qquad
        z = m + A u, \quad A A^\top = C, \quad u \in [-5.5, 5.5]^2

    The midpoint rule, on a fine grid in u; the mass beyond is below 1e-7.

    Parameters
    ----------
    model : VAE
        With a Bernoulli decoder; its encoder is not asked.
    x : Tensor, shape (B, D)
    mean, covariance : Tensor, shape (2,) and (2, 2)
        m and C: 0 and I for the prior.
    cells : int
        Along each axis. A posterior whose deviation, in units of u, is 11 / cells is found to 1e-8.

    Returns
    -------
    Tensor, shape (B,)
        Nats.
    """
    step = 2 * reach / cells
    axis = (torch.arange(cells) + 0.5) * step - reach
    u = torch.cartesian_prod(axis, axis)
    z = mean + u @ torch.linalg.cholesky(covariance).T
    weights = 2 * math.log(step) - math.log(2 * math.pi) - 0.5 * u.square().sum(-1)
    total = torch.full((len(x),), -math.inf)
    with torch.inference_mode():
        for some, log_weight in zip(torch.split(z, 4_000), torch.split(weights, 4_000), strict=True):
            logits = model.decode(some)
            # sum_d x l - log(1 + e^l): one product for all images and places.
            log_likelihood = x @ logits.T - F.softplus(logits).sum(-1)
            total = torch.logaddexp(total, torch.logsumexp(log_likelihood + log_weight, -1))
    return total


class _Answers(nn.Module):
    """An encoder that has its answers in advance, for the images that they were found for, in their order."""

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        super().__init__()
        self.answers = mean, log_var

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.answers
        assert len(mean) == len(x)
        return mean, log_var


def evidence_bound(
    model: VAE, images: Images, mean: Tensor, covariance: Tensor, *, seed: int = 0, draws: int = 256
) -> Tensor:
    r"""Log-evidence of each image under a decoder and a normal latent, from below, however many latents.

    .. math::

        \log \frac{1}{k} \sum_{i=1}^{k} \frac{p_\theta(x \mid m + A u_i) \, p(u_i)}{q(u_i)}, \qquad
        A A^\top = C, \quad u_i \sim q(u), \quad p(u) = \mathcal N(u; 0, I)

    with a q of its own for each image: it climbs the ELBO from where the encoder puts the image, and is then
    made a little wider, lest a few draws beyond its tails carry all the weight.

    Parameters
    ----------
    model : VAE
        Its q may be a point.
    images : Images
        Some hundreds: all are refined in one batch.
    mean, covariance : Tensor, shape (J,) and (J, J)
        m and C: 0 and I for the prior.
    draws : int
        k.

    Returns
    -------
    Tensor, shape (B,)
        Nats; the mean is below the evidence, the less the more draws there are.
    """
    factor = torch.linalg.cholesky(covariance)
    place = nn.Linear(len(mean), len(mean))
    codes, _ = encode(model, images)
    begin = torch.linalg.solve_triangular(factor, (codes - mean).T, upper=False).T
    with torch.no_grad():
        place.weight.copy_(factor)
        place.bias.copy_(mean)

    def with_answers(mean: Tensor, log_var: Tensor) -> VAE:
        decoder = nn.Sequential(place, model.decoder)
        return VAE(_Answers(mean, log_var), decoder, latent_dim=len(factor), likelihood="bernoulli")

    generator = torch.Generator().manual_seed(seed)
    start = with_answers(begin, torch.full_like(begin, -2.0))
    best, log_var = refine(start, images, steps=200, generator=generator)
    wider = with_answers(best, log_var + 2 * math.log(WIDER))
    with torch.inference_mode():
        return importance_weighted_bound(wider, images.floats(), draws=draws, generator=generator)


def against_prior(model: VAE, train: Images, test: Images, seed: int) -> dict[str, Any]:
    """Hold the aggregate posterior against the prior, and against a normal distribution fitted to it.

    Its moments, the least KL that they leave room for, the share of draws that fall into holes, and the
    evidence under each of the two: exact, with codes and pictures, where the latent is a plane, else a bound.
    """
    generator = torch.Generator().manual_seed(seed)

    def codes_of(images: Images) -> Tensor:
        mean, log_var = encode(model, images)
        return reparameterize(mean, log_var, torch.randn(mean.shape, generator=generator))

    codes, held_out = codes_of(train[:CODES]), codes_of(test)
    centre, covariance = linear.moments(held_out)
    identity, nothing = torch.eye(len(centre)).double(), torch.zeros(len(centre)).double()
    # Codes in a plane of their own have no density: a hundred-thousandth of their variance makes it thick.
    covariance += 1e-5 * covariance.diagonal().mean() * identity
    u = torch.randn(len(held_out), len(centre), generator=generator)
    fitted = centre.float() + u @ torch.linalg.cholesky(covariance).float().T
    result: dict[str, Any] = {
        "mean": centre.tolist(),
        "variances": covariance.diagonal().tolist(),
        "moments_kl": full_gaussian_kl(centre, covariance, nothing, identity).item(),
        "holes": {"prior": holes(codes, held_out, u), "fitted": holes(codes, held_out, fitted)},
    }
    some = test[:FEW]
    laws = {"prior": (nothing.float(), identity.float()), "fitted": (centre.float(), covariance.float())}
    if model.latent_dim != 2:
        bounds = {name: evidence_bound(model, some, *law, seed=seed) for name, law in laws.items()}
        result["evidence_bound"] = {name: each.mean().item() for name, each in bounds.items()}
    else:
        exact = {name: evidence_on_grid(model, some.floats(), *law) for name, law in laws.items()}
        result["evidence"] = {name: each.mean().item() for name, each in exact.items()}
        result["codes"] = [" ".join(f"{z:.2f}" for z in row) for row in held_out[:SHOWN].T.tolist()]
        result["pictures"] = {
            "prior": [in_hex(picture) for picture in decode(model, u[:DRAWN])],
            "fitted": [in_hex(picture) for picture in decode(model, fitted[:DRAWN])],
            "reconstructions": [in_hex(picture) for picture in decode(model, held_out[:DRAWN])],
        }
    return result


def in_hex(picture: Tensor) -> str:
    """A picture in 16 levels of grey, a hexadecimal digit for each pixel: what a page shows of a model."""
    return "".join(f"{level:x}" for level in (15 * picture.clamp(0, 1)).round().int().tolist())


def measure(model: VAE, plan: Plan, train: Images, test: Images) -> dict[str, Any]:
    """What one model does on the test set."""
    seed = plan.recipe.seed
    mean, log_var = encode(model, test)
    result: dict[str, Any] = {
        **evaluate(model, test, generator=torch.Generator().manual_seed(seed))._asdict(),
        "sigma": None if model.log_var is None else math.exp(0.5 * model.log_var.item()),
        "active": int(aggregate.active_units(mean).sum()),
        "directions": directions(mean),
    }
    if plan.recipe.beta:
        drawn = aggregate.draw(mean, log_var, torch.Generator().manual_seed(seed))
        result["surgery"] = aggregate.mutual_information(mean, log_var, drawn)._asdict()
    if plan.question == "autoencoder":
        result["against_prior"] = against_prior(model, train, test, seed)
    return result


# --- one model after the other ----------------------------------------------------------------------------


def read(path: Path) -> dict[str, Any]:
    """The results so far; none if there is no file."""
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"about": ABOUT}
    return content


def row_of(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The row of a model, empty if it has none."""
    question, _, which = name.partition("/")
    row: Mapping[str, Any] = content.get(question, {}).get("models", {}).get(which, {})
    return row


def missing(content: Mapping[str, Any], wanted: Mapping[str, Plan], images: int) -> list[str]:
    """Names of the models whose rows are not there, or are of other settings."""
    return [
        name
        for name, plan in wanted.items()
        if row_of(content, name).get("settings") != settings_of(plan, images)
    ]


def enter(path: Path, name: str, plan: Plan, row: Mapping[str, Any]) -> None:
    """Put a row into the file, in one step; what others have entered meanwhile stays."""
    stamp = {"date": datetime.date.today().isoformat(), "versions": versions()}
    with FileLock(path.with_suffix(".lock")):
        content = read(path)
        models = content.get(plan.question, {}).get("models", {})
        which = name.partition("/")[2]
        content["about"] = ABOUT
        content[plan.question] = {
            "unit": UNIT,
            "command": f"{COMMAND} --only {plan.question}",
            "seed": plan.recipe.seed,
            **stamp,
            "models": {**models, which: {**row, **stamp}},
        }
        write_json(path, content)
    path.with_suffix(".lock").unlink(missing_ok=True)


def train_one(
    plan: Plan, train: Images, test: Images, eigenvalues: Tensor, tick: Callable[[int], object]
) -> dict[str, Any]:
    """Train and measure one model; ``tick`` is told how many images each step took."""

    def tell(_: int, __: int, terms: ElboTerms) -> None:
        tick(len(terms.kl))

    model = mlp_vae(**plan.model, generator=torch.Generator().manual_seed(plan.recipe.seed))
    begun = time.perf_counter()
    fit(model, train, plan.recipe, progress=False, on_step=tell)
    seconds = time.perf_counter() - begun
    return {
        "settings": settings_of(plan, len(train)),
        "predicted": predicted(plan, eigenvalues),
        "found": measure(model, plan, train, test),
        "seconds": round(seconds, 1),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }


def sentence(name: str, row: Mapping[str, Any]) -> str:
    """One line of the table that is printed."""
    found, theory = row["found"], row.get("predicted")
    promised = f" of {theory['directions']:3d}" if theory else " " * 7
    rate = math.inf if found["rate"] is None else found["rate"]  # JSON has no infinity
    return (
        f"{name:24s} rate {rate:7.2f}  distortion {found['distortion']:9.2f}  "
        f"squared error {found['squared_error']:6.2f}  active {found['active']:3d}  "
        f"directions {found['directions']:3d}{promised}"
    )


def chosen(everything: Mapping[str, Plan], only: Sequence[str]) -> Iterator[tuple[str, Plan]]:
    """Yield what was asked for: a question, a model, or all that begin alike."""
    for name, plan in everything.items():
        if not only or any(name == one or name.startswith(f"{one}/") for one in only):
            yield name, plan


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, and refuse what would spoil the published file."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="questions or models; see --list"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and train nothing")
    parser.add_argument("--again", action="store_true", help="train what is in the file already, too")
    parser.add_argument("--epochs", type=int, default=6, help="passes over the images, for each model (6)")
    parser.add_argument("--hidden", type=int, default=200, help="hidden units on each side (200)")
    parser.add_argument("--images", type=int, default=60_000, help="training images, from the first (60000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and noise (0)")
    parser.add_argument("--threads", type=int, default=1, help="for PyTorch (1): more are of little use here")
    parser.add_argument("--out", type=Path, default=RESULT, help="the file (results/capacity.json)")
    options = parser.parse_args(given)
    everything = plans(epochs=options.epochs, hidden=options.hidden, seed=options.seed)
    changed = [
        name
        for name in ("epochs", "hidden", "images", "seed")
        if getattr(options, name) != parser.get_default(name)
    ]
    if changed and options.out == RESULT:
        parser.error(
            f"with another {' and '.join(changed)} these are other results: give them an --out of their own"
        )
    for one in options.only:
        if not dict(chosen(everything, [one])):
            parser.error(f"nothing is called {one!r}; --list says what there is")
    options.plans = dict(chosen(everything, options.only))
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    wanted: dict[str, Plan] = options.plans
    content = read(options.out)
    todo = list(wanted) if options.again else missing(content, wanted, options.images)
    if options.list:
        for name in wanted:
            print(f"{name:24s} to be trained" if name in todo else sentence(name, row_of(content, name)))
        return
    if not todo:
        print(f"all {len(wanted)} models are in {options.out}; --again trains them again")
        return

    torch.set_num_threads(options.threads)
    train, test = load_mnist()
    train = train[: options.images]
    eigenvalues = linear.spectrum(linear.moments(train.floats()).covariance).eigenvalues
    options.out.parent.mkdir(parents=True, exist_ok=True)
    total = sum(wanted[name].recipe.epochs * len(train) for name in todo)
    try:
        with tqdm(total=total, unit="img", unit_scale=True) as bar:
            for number, name in enumerate(todo, start=1):
                bar.set_description(f"{number}/{len(todo)} {name}")
                row = train_one(wanted[name], train, test, eigenvalues, bar.update)
                enter(options.out, name, wanted[name], row)
                bar.write(sentence(name, row), file=sys.stdout)
    except KeyboardInterrupt:
        print(
            f"\nstopped; what was finished is in {options.out}, and the same command goes on", file=sys.stderr
        )
        raise SystemExit(130) from None
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
