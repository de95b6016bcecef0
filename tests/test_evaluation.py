import math
from collections.abc import Iterator

import pytest
import torch

from vaelib import evaluation, linear
from vaelib.data import Images
from vaelib.models import VAE, linear_vae, mlp_vae
from vaelib.objectives import elbo_terms


def noise_images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 784), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.zeros(count, dtype=torch.int64))


@pytest.fixture
def model() -> VAE:
    return mlp_vae(hidden_dim=8, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [1, 999, 1000, 1001])
def test_every_image_is_measured_once_in_its_place(model: VAE, count: int) -> None:
    images = noise_images(count)
    terms = evaluation.image_terms(model, images, generator=seeded())
    assert terms.elbo.shape == (count,)
    # The KL has no noise, so each image's is known alone.
    kl = elbo_terms(model, images.floats()).kl
    torch.testing.assert_close(terms.kl, kl.detach(), rtol=1e-5, atol=1e-6)


def test_evaluation_is_the_mean_of_its_images_with_its_standard_error(model: VAE) -> None:
    images = noise_images(300)
    terms = evaluation.image_terms(model, images, generator=seeded(1))
    result = evaluation.evaluate(model, images, generator=seeded(1))
    elbos = terms.elbo.double()
    # Single-image terms are float32 near 550: the mean of 300 agrees to 1e-5.
    assert result.elbo == pytest.approx(sum(elbos.tolist()) / 300, abs=1e-4)
    assert result.elbo == pytest.approx(-result.distortion - result.rate, abs=1e-9)
    spread = math.sqrt(sum((e - result.elbo) ** 2 for e in elbos.tolist()) / 299)
    assert result.standard_error == pytest.approx(spread / math.sqrt(300), rel=1e-6)
    assert result.images == 300


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_squared_error_is_that_of_the_decoded_mean_at_the_same_draws(likelihood: str) -> None:
    model = mlp_vae(hidden_dim=8, likelihood=likelihood, generator=seeded())
    images = noise_images(200)
    result = evaluation.evaluate(model, images, generator=seeded(1))
    picture = evaluation.reconstruct(model, images, generator=seeded(1)).mean_image
    squares = ((images.floats() - picture) ** 2).sum(1).mean().item()
    assert result.squared_error == pytest.approx(squares, rel=1e-5)  # sums of float32
    if likelihood == "gaussian":  # a unit variance: the distortion is half of it and a constant
        distortion = squares / 2 + 392 * math.log(2 * math.pi)
        assert result.distortion == pytest.approx(distortion, rel=1e-5)


def test_weighted_sum_of_an_evaluation_leaves_out_a_rate_that_costs_nothing(model: VAE) -> None:
    result = evaluation.evaluate(model, noise_images(20))
    assert result.weighted(1) == pytest.approx(result.elbo, rel=1e-6)
    assert result.weighted(3) == -(result.distortion + 3 * result.rate)
    assert result._replace(rate=math.inf).weighted(0) == -result.distortion


def test_evaluating_leaves_the_mode_and_the_gradients_alone(model: VAE) -> None:
    for mode in (True, False):
        model.train(mode)
        result = evaluation.evaluate(model, noise_images(5))
        assert model.training is mode
        assert math.isfinite(result.elbo)
    assert all(weight.grad is None for weight in model.parameters())


def test_mode_comes_back_after_a_failure(model: VAE) -> None:
    model.train()
    with pytest.raises(RuntimeError):
        evaluation.decode(model, torch.zeros(1, 99))
    assert model.training


def test_codes_and_decodings_are_the_models_own(model: VAE) -> None:
    images = noise_images(1001)
    mean, log_var = evaluation.encode(model, images)
    expected_mean, expected_log_var = model.encode(images.floats())
    # Batches of another size may sum in another order: float32 rounding.
    torch.testing.assert_close(mean, expected_mean.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_var, expected_log_var.detach(), rtol=1e-5, atol=1e-6)
    decoded = evaluation.decode(model, mean)
    torch.testing.assert_close(decoded, model.mean_image(mean).detach(), rtol=1e-5, atol=1e-6)


def test_what_is_measured_carries_no_gradients() -> None:
    """A linear encoder's variances are its parameters, the same for all images."""
    model = linear_vae(latent_dim=3, generator=seeded())
    mean, log_var = evaluation.encode(model, noise_images(5))
    assert not mean.requires_grad
    assert not log_var.requires_grad
    assert log_var.numpy().shape == (5, 3)


def test_progress_sees_every_batch_and_changes_nothing(model: VAE) -> None:
    images = noise_images(2001)
    seen: list[int] = []

    def watched(steps: range) -> Iterator[int]:
        for step in steps:
            seen.append(step)
            yield step

    result = evaluation.evaluate(model, images, generator=seeded(), progress=watched)
    assert seen == [0, 1000, 2000]
    assert result == evaluation.evaluate(model, images, generator=seeded())


def test_importance_weighted_bound_of_many_images_is_the_evidence_where_q_is_the_posterior() -> None:
    """Columns at right angles make the linear decoder's posterior diagonal, and every weight the evidence."""
    data_dim, variance = 784, 0.5
    model = linear_vae(data_dim=data_dim, latent_dim=3, variance=variance, generator=seeded())
    axes = torch.linalg.qr(torch.randn(data_dim, 3, generator=seeded(1))).Q * torch.tensor([3.0, 2.0, 1.0])
    decoder = linear.Decoder(axes, torch.tensor(variance))
    best = linear.best_encoder(decoder)
    with torch.no_grad():
        model.decoder.weight.copy_(axes)
        model.encoder.weight.copy_(best.weight)
        model.encoder.log_var.copy_(best.variances.log())
    images = noise_images(250)
    bounds = evaluation.importance_weighted(model, images, draws=3, generator=seeded())
    assert bounds.shape == (250,)
    normal = torch.distributions.LowRankMultivariateNormal(
        torch.zeros(data_dim), axes, torch.full((data_dim,), variance)
    )
    # Sums of 784 float32 numbers near 1,000: off by some 1e-3.
    torch.testing.assert_close(bounds, normal.log_prob(images.floats()), rtol=1e-5, atol=1e-2)
    alone = evaluation.importance_weighted(model, images[:100], draws=3, generator=seeded())
    torch.testing.assert_close(bounds[:100], alone)


@pytest.mark.parametrize(("posterior", "name"), [("point", "log p(x|z)"), ("normal", "ELBO")])
def test_a_picture_is_judged_by_a_number_that_is_finite(posterior: str, name: str) -> None:
    model = mlp_vae(hidden_dim=8, posterior=posterior, generator=seeded())
    images = noise_images(4)
    made = evaluation.reconstruct(model, images, generator=seeded())
    x, p = images.floats(), made.mean_image
    log_likelihood = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    rate = made.terms.kl if posterior == "normal" else 0
    assert made.score[0] == name
    # Sums of 784 float32 numbers near 600.
    torch.testing.assert_close(made.score[1], log_likelihood - rate, rtol=1e-5, atol=1e-3)


def test_picture_and_terms_of_a_reconstruction_belong_to_one_draw(model: VAE) -> None:
    images = noise_images(4)
    result = evaluation.reconstruct(model, images, generator=seeded())
    x, p = images.floats(), result.mean_image
    log_likelihood = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    torch.testing.assert_close(result.terms.log_likelihood, log_likelihood, rtol=1e-5, atol=1e-3)


def test_refined_answer_is_the_best_of_the_family_where_that_is_known() -> None:
    """For a linear decoder the best diagonal q of each image is known in closed form."""
    model = linear_vae(variance=4.0, generator=seeded())
    images = noise_images(20)
    with torch.no_grad():
        model.decoder.weight.mul_(10)  # else the prior answers for every image
        model.encoder.weight.mul_(5)
    decoder = linear.Decoder(model.decoder.weight.detach(), torch.tensor(4.0))
    best = linear.best_encoder(decoder)
    before, _ = evaluation.encode(model, images)
    mean, log_var = evaluation.refine(model, images, generator=seeded(1), steps=300, learning_rate=0.05)
    wanted = (images.floats() - model.decoder.centre) @ best.weight.mT
    # Adam with eight draws a step ends within a fraction of the posterior's deviation of the top.
    deviation = best.variances.sqrt()
    assert ((before - wanted).abs() > 2 * deviation).any(), "else there was nothing to improve"
    assert ((mean - wanted).abs() < 0.2 * deviation).all()
    assert ((log_var - best.variances.log()).abs() < 0.3).all()


def test_refining_leaves_the_model_alone(model: VAE) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluation.refine(model, noise_images(3), steps=2, generator=seeded())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert model.get_parameter(name).grad is None
