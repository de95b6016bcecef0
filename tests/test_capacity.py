"""The command behind ``results/capacity.json``: its measures against oracles, its ways on a few images."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from benchmarks import capacity
from vaelib import results
from vaelib.data import Images
from vaelib.models import VAE, mlp_vae

SMALL = ["--epochs", "1", "--hidden", "4", "--images", "60"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[Images, Images]:
    """A few pictures in the place of MNIST, and threads left as they are."""
    pixels = torch.randint(0, 256, (140, 784), generator=seeded(), dtype=torch.uint8)
    images = Images(pixels, torch.arange(140) % 10)
    monkeypatch.setattr(capacity, "load_mnist", lambda: (images[:100], images[100:]))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    return images[:100], images[100:]


# --- what is asked ----------------------------------------------------------------------------------------


def test_every_question_has_its_models_and_the_cures_lower_the_water_alike() -> None:
    everything = capacity.plans()
    assert len(everything) == 28
    assert {plan.question for plan in everything.values()} == {"variance", "cures", "capacity", "autoencoder"}
    assert all(name.startswith(f"{plan.question}/") for name, plan in everything.items())
    for sigma in (9.9, 1.0):
        cured = everything[f"cures/{sigma:g}/weight"]
        # The water of a published loss: a mean over 784 pixels on [-1, 1] beside 0.001 times the KL.
        assert cured.recipe.beta * sigma**2 == pytest.approx(0.001 * 784 / 2 / 4, rel=0.03)
        others = [f"cures/{sigma:g}/{cure}" for cure in ("warm-up", "free-bits")]
        assert all(everything[name].model == cured.model for name in (*others, f"variance/{sigma:g}"))
        assert all(everything[name].recipe.beta == 1 for name in others)
    for latents in (2, 16):
        pair = [everything[f"autoencoder/{latents}/{posterior}"] for posterior in ("normal", "point")]
        assert pair[1].model == {**pair[0].model, "posterior": "point"}
        assert dataclasses.replace(pair[1].recipe, beta=1.0) == pair[0].recipe


def test_settings_survive_json() -> None:
    for plan in capacity.plans().values():
        settings = capacity.settings_of(plan, 100)
        assert json.loads(json.dumps(settings)) == settings


def test_prediction_is_the_water_worked_by_hand() -> None:
    # Four directions, three latents, and water at 1 = 4 * 0.5^2: two of the eigenvalues are above it.
    plan = capacity.plans()["variance/0.5"]
    plan = capacity.Plan("variance", {**plan.model, "latent_dim": 3}, plan.recipe.__class__(beta=4.0))
    found = capacity.predicted(plan, torch.tensor([math.e**2, math.e, 0.25, 0.5]).double())
    assert found is not None
    assert found["directions"] == 2
    assert found["rate"] == pytest.approx(1 + 0.5)  # half the logarithm of each over the level
    assert found["squared_error"] == pytest.approx(1 + 1 + 0.25 + 0.5)  # the level twice, and what is below
    assert capacity.predicted(capacity.plans()["variance/learned"], torch.ones(4)) is None


# --- measures ---------------------------------------------------------------------------------------------


def test_directions_do_not_depend_on_the_axes() -> None:
    # One direction of variance 0.5 shared by 100 latents, 0.005 for each: none is active, one direction is.
    shared = 0.5**0.5 * torch.randn(5000, 1, generator=seeded(), dtype=torch.float64)
    mean = shared.expand(-1, 100) / 10
    assert (mean.var(0) < 0.01).all()
    assert capacity.directions(mean) == 1
    # Two directions, turned.
    plane = torch.randn(5000, 2, generator=seeded(1), dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=seeded(2), dtype=torch.float64)).Q
    assert capacity.directions(torch.cat([plane, torch.zeros(5000, 4)], 1) @ turn) == 2
    assert capacity.directions(torch.zeros(10, 3)) == 0


def test_nearest_is_what_a_tree_finds() -> None:
    points, codes = (torch.randn(count, 3, generator=seeded(count)) for count in (1_300, 700))
    expected, _ = cKDTree(codes.double().numpy()).query(points.double().numpy())
    # cdist in float32, of distances of size 1.
    np.testing.assert_allclose(capacity.nearest(points, codes).numpy(), expected, atol=1e-3)


def test_holes_are_one_in_a_hundred_where_draws_and_codes_are_alike_and_all_where_there_is_no_code() -> None:
    codes, held_out, draws = (torch.randn(4_000, 2, generator=seeded(seed)) for seed in range(3))
    # A count of 40 with a deviation of 6, and as much again from the 40 that set the distance.
    assert capacity.holes(codes, held_out, draws) == pytest.approx(0.01, abs=0.01)
    assert capacity.holes(codes, held_out, draws + 50) == 1
    # A ring: the prior's draws inside it fall into the hole.
    ring, other = (part / part.norm(dim=1, keepdim=True) * 2 for part in (codes, held_out))
    share = (draws.norm(dim=1) < 1.8).double().mean().item()
    assert capacity.holes(ring, other, draws) > share


def plane(**other: object) -> VAE:
    model = mlp_vae(data_dim=9, hidden_dim=5, latent_dim=2, generator=seeded(), **other)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(2)
    return model


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))), ((0.7, -1.5), ((2.0, 0.6), (0.6, 0.5)))],
)
def test_evidence_on_the_grid_is_the_mean_likelihood_over_a_wider_and_finer_one(
    mean: tuple[float, float], covariance: tuple[tuple[float, float], ...]
) -> None:
    model, x = plane(), torch.rand(6, 9, generator=seeded(1))
    found = capacity.evidence_on_grid(model, x, torch.tensor(mean), torch.tensor(covariance), cells=200)
    # The same integral in z itself, in float64, by NumPy.
    axis = np.linspace(-12, 12, 801)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    off = z - np.array(mean)
    inverse, determinant = np.linalg.inv(covariance), np.linalg.det(covariance)
    log_prior = -0.5 * (off @ inverse * off).sum(1) - np.log(2 * np.pi) - 0.5 * np.log(determinant)
    with torch.no_grad():
        logits = model.double().decode(torch.from_numpy(z)).numpy()
    pixels = x.double().numpy()
    log_likelihood = -pixels @ np.logaddexp(0, -logits).T - (1 - pixels) @ np.logaddexp(0, logits).T
    expected = np.log((np.exp(log_prior + log_likelihood) * (axis[1] - axis[0]) ** 2).sum(1))
    # float32 sums of 40,000 cells.
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_a_latent_that_is_ignored_leaves_the_likelihood_as_evidence() -> None:
    model, x = plane(), torch.rand(4, 9, generator=seeded(1))
    with torch.no_grad():
        model.decoder.hidden.weight.zero_()
        expected = model.log_likelihood(model.decode(torch.zeros(4, 2)), x)
    found = capacity.evidence_on_grid(model, x, torch.zeros(2), torch.eye(2))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # float32 sums of 90,000 cells


@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_evidence_bound_comes_near_the_evidence_from_below_wherever_the_encoder_puts_an_image(
    posterior: str,
) -> None:
    model = plane(posterior=posterior)
    pixels = torch.randint(0, 256, (20, 9), generator=seeded(1), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(20, dtype=torch.int64))
    law = torch.tensor([0.7, -1.5]), torch.tensor([[2.0, 0.6], [0.6, 0.5]])
    exact = capacity.evidence_on_grid(model, images.floats(), *law, cells=200)
    bound = capacity.evidence_bound(model, images, *law, draws=2_000)
    # An image's estimate scatters by some hundredths with 2,000 draws, the mean of 20 by some thousandths.
    assert (bound - exact).abs().max() < 0.2
    assert (exact - bound).mean().item() == pytest.approx(0, abs=0.03)
    # A single draw is the ELBO, which is further off.
    assert capacity.evidence_bound(model, images, *law, draws=1).mean() < bound.mean()


def test_pictures_come_back_from_their_digits_to_half_a_level() -> None:
    picture = torch.rand(784, generator=seeded())
    back = torch.tensor([int(digit, 16) for digit in capacity.in_hex(picture)]) / 15
    assert (back - picture).abs().max() <= 0.5 / 15 + 1e-6
    assert capacity.in_hex(torch.tensor([-0.1, 0.0, 1.0, 1.2])) == "00ff"


# --- one model after the other ----------------------------------------------------------------------------


def test_results_say_what_where_when_and_are_whole_after_each_model(
    few: tuple[Images, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert few
    path = tmp_path / "capacity.json"
    names = ["variance/1", "autoencoder/2/normal", "autoencoder/2/point", "autoencoder/16/point"]
    capacity.main([*SMALL, "--out", str(path), "--only", *names])
    content = json.loads(path.read_text())
    assert list(content) == ["about", "variance", "autoencoder"]
    for name in names:
        question, _, which = name.partition("/")
        part = content[question]
        assert {"unit", "command", "seed", "versions", "date"} <= part.keys()
        row = part["models"][which]
        assert {"settings", "predicted", "found", "seconds", "machine", "date", "versions"} <= row.keys()
        assert row["settings"]["images"] == 60
    found = {name: capacity.row_of(content, name)["found"] for name in names}
    for name in names[:2]:
        assert found[name]["elbo"] == pytest.approx(-found[name]["distortion"] - found[name]["rate"])
        surgery = found[name]["surgery"]
        assert surgery["rate"] == pytest.approx(surgery["marginal_kl"] + surgery["mutual_information"])
    assert found["variance/1"]["sigma"] == pytest.approx(1.0)
    # JSON knows no infinity: what an autoencoder has none of is null.
    assert found[names[2]]["rate"] is None
    assert found[names[2]]["elbo"] is None
    assert "surgery" not in found[names[2]]
    assert "evidence" not in found[names[3]]["against_prior"]
    assert found[names[3]]["against_prior"]["evidence_bound"].keys() == {"prior", "fitted"}
    for name in names[1:3]:
        prior = found[name]["against_prior"]
        assert 0 <= prior["holes"]["prior"] <= 1
        assert prior["evidence"].keys() == {"prior", "fitted"}
        assert [len(column.split()) for column in prior["codes"]] == [40, 40]
        assert {len(picture) for kind in prior["pictures"].values() for picture in kind} == {784}
    # No ELBO is above the evidence; both are means over the same 40 images, the ELBO of one draw each.
    vae = found[names[1]]
    assert vae["elbo"] < vae["against_prior"]["evidence"]["prior"] + 4 * vae["standard_error"]
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary is left
    assert "rate     inf" in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(
    few: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert few
    path, trained = tmp_path / "capacity.json", []
    train_one = capacity.train_one

    def counting(plan: capacity.Plan, *rest: object) -> dict[str, object]:
        trained.append(plan.model["latent_dim"])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train_one(plan, *rest)

    monkeypatch.setattr(capacity, "train_one", counting)
    command = [*SMALL, "--out", str(path), "--only", "capacity/1", "capacity/4", "capacity/8"]
    with pytest.raises(SystemExit) as stopped:
        capacity.main(command)
    assert stopped.value.code == 130
    assert list(json.loads(path.read_text())["capacity"]["models"]) == ["1", "4"]
    before = path.read_bytes()
    capacity.main(command)
    assert trained == [1, 4, 8, 8]
    rows = json.loads(path.read_text())["capacity"]["models"]
    assert rows["1"] == json.loads(before)["capacity"]["models"]["1"]
    capacity.main(command)  # all is there
    assert trained == [1, 4, 8, 8]
    capacity.main([*command, "--again"])
    assert trained == [1, 4, 8, 8, 1, 4, 8]


def test_other_settings_are_another_model_and_the_same_give_the_same_numbers(
    few: tuple[Images, Images], tmp_path: Path
) -> None:
    assert few
    path = tmp_path / "capacity.json"
    one = [*SMALL, "--out", str(path), "--only", "capacity/2"]
    capacity.main(one)
    first = capacity.row_of(capacity.read(path), "capacity/2")["found"]
    capacity.main([*one, "--seed", "1"])
    other = capacity.row_of(capacity.read(path), "capacity/2")["found"]
    assert other["elbo"] != first["elbo"]
    capacity.main(one)
    assert capacity.row_of(capacity.read(path), "capacity/2")["found"] == first


def test_a_list_trains_nothing_and_says_what_is_there(
    few: tuple[Images, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert few
    path = tmp_path / "capacity.json"
    capacity.main([*SMALL, "--out", str(path), "--list"])
    assert not path.exists()
    assert capsys.readouterr().out.count("to be trained") == 28
    capacity.main([*SMALL, "--out", str(path), "--only", "variance/2"])
    capsys.readouterr()
    capacity.main([*SMALL, "--out", str(path), "--list", "--only", "variance"])
    lines = capsys.readouterr().out.splitlines()
    assert sum("to be trained" in line for line in lines) == 10
    assert [line.split()[0] for line in lines if "directions" in line] == ["variance/2"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--epochs", "1"], "give them an --out of their own"),
        (["--seed", "3", "--images", "100"], "another images and seed"),
        (["--only", "nonsense"], "nothing is called 'nonsense'"),
        (["--only", "capacity/3"], "--list says what there is"),
    ],
)
def test_what_would_spoil_the_published_file_or_means_nothing_is_refused(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        capacity.arguments(given)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_help_says_what_is_asked_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        capacity.arguments(["--help"])
    shown = capsys.readouterr().out
    for words in ("variance", "cures", "capacity", "autoencoder", "Ctrl-C", "--again", "examples"):
        assert words in shown


def test_the_published_file_is_what_the_command_makes_of_its_default_settings() -> None:
    content = results.read("capacity")
    assert capacity.missing(content, capacity.plans(), 60_000) == []
    kept = {f"{question}/{which}" for question in list(content)[1:] for which in content[question]["models"]}
    assert kept == capacity.plans().keys()  # and of no others
    rows = {name: capacity.row_of(content, name) for name in capacity.plans()}
    assert all(row["found"]["images"] == 10_000 for row in rows.values())
