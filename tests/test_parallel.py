"""Several processes: the same steps as one, nothing lost, and an end that can be gone on from."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vaelib import checkpoints
from vaelib.data import Images
from vaelib.parallel import World, joined, world
from vaelib.shards import write

# Forty-three images in batches of ten: the last batch has three, one for each process at most.
TRAINING = [
    "train", "--validation", "0", "--batch-size", "10", "--hidden-dim", "8", "--device", "cpu",
]  # fmt: skip


def command(processes: int | None) -> list[str]:
    if processes is None:
        return [sys.executable, "-m", "vaelib"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return [*torchrun, "--standalone", "-m", "vaelib"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def trained(folder: Path, processes: int | None, *arguments: str) -> Tensor:
    done = subprocess.run(
        [*command(processes), *arguments, "--out", str(folder)],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test ELBO") == 1, "one process reports"
    model = checkpoints.load(folder).model
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def epochs_in(run: Path) -> int:
    return len(list(csv.DictReader((run / "history.csv").read_text().splitlines())))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (43, 784), generator=generator).byte()
    write(folder, [Images(pixels, torch.zeros(43, dtype=torch.int64))])
    return folder


@pytest.fixture(scope="module")
def alone(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return trained(
        tmp_path_factory.mktemp("alone") / "run", None, *TRAINING, "--shards", str(shards), "--epochs", "4"
    )


@given(count=st.integers(0, 300), size=st.integers(1, 17))
def test_every_row_of_a_batch_is_one_process_s(count: int, size: int) -> None:
    batch = torch.arange(count)
    shares = [World(rank, size).share(batch) for rank in range(size)]
    assert torch.equal(torch.cat(shares), batch)
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_without_torchrun_a_process_is_alone() -> None:
    with joined() as here:
        assert here == world() == World(0, 1)
        numbers = torch.tensor([1.0, 2.0])
        assert here.total(numbers) is numbers
        assert here.agreed([3.0], 1, torch.device("cpu")) == [3.0]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_take_the_steps_of_one(
    processes: int, shards: Path, alone: Tensor, tmp_path: Path
) -> None:
    """Of ten images three processes take three, three and four; of an epoch's last three one each."""
    together = trained(tmp_path / "run", processes, *TRAINING, "--shards", str(shards), "--epochs", "4")
    # Twenty steps of Adam with sums in another order, and autograd's gradient instead of the written one.
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)
    assert epochs_in(tmp_path / "run") == 4


def test_processes_together_normalise_a_batch_as_one(shards: Path, tmp_path: Path) -> None:
    convolving = [
        "train", "--validation", "0", "--batch-size", "20", "--device", "cpu", "--shards", str(shards),
        "--architecture", "conv", "--head", "convolution", "--batch-norm", "--likelihood", "gaussian",
        "--encoder-channels", "4,4,4,4", "--decoder-channels", "4,4,4,4", "--epochs", "2",
    ]  # fmt: skip
    states = []
    for processes in (None, 2):
        run = tmp_path / str(processes)
        trained(run, processes, *convolving)
        states.append(checkpoints.load(run).model.state_dict())
    # A bias before a normalisation has no gradient but rounding, of which Adam makes whole steps: the biases
    # of the decoder's layers differ, and the means that follow them.
    alike = [name for name in states[0] if "decoder" not in name or name.endswith("weight")]
    assert any("running_var" in name for name in alike)
    for name in alike:
        # Six steps of 0.005; variances as differences of float32 sums, which are off by some 1e-6 of them.
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-3, atol=5e-4)


def test_a_killed_worker_ends_the_run_which_goes_on_with_fewer(
    shards: Path, alone: Tensor, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [*TRAINING, "--shards", str(shards), "--epochs", "4", "--out", str(run)]
    started = subprocess.Popen(
        [*command(3), *arguments],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # Each epoch measures 10,000 test images: after the first one's checkpoint there is time to kill.
    checkpoint = run / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    workers = subprocess.run(
        ["pgrep", "--parent", str(started.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    for worker in workers[-1:]:
        os.kill(int(worker), signal.SIGKILL)
    _, said = started.communicate(timeout=120)
    assert checkpoint.exists(), said
    epochs = epochs_in(run)
    assert started.returncode != 0, "killed too late to tell"
    assert 1 <= epochs < 4
    resumed = trained(run, 2, "train", "--resume")
    torch.testing.assert_close(resumed, alone, rtol=0, atol=2e-5)
