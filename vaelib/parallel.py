"""Several processes that train one model: who they are, and which rows of a batch each takes.

``torchrun`` starts them, ``torch.distributed`` joins them and ``DistributedDataParallel`` adds up their
gradients; nothing of that is done here. The processes share a seed, so they go through the same order of
images and the same noise, and each takes its own rows of every batch: together they take the steps of one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class World(NamedTuple):
    """The number of a process among those that train together, from 0, and how many they are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is this process that writes, measures and reports."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        r"""Rows of a batch that are this process's.

        .. math::

            \lfloor r B / W \rfloor \le i < \lfloor (r + 1) B / W \rfloor

        Each row is some process's and no row is two's; the shares differ by at most one row.
        """
        if self.size == 1:
            return batch
        count = len(batch)
        return batch[count * self.rank // self.size : count * (self.rank + 1) // self.size]

    def total(self, numbers: Tensor) -> Tensor:
        """Add up the numbers of all processes."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def agreed(self, numbers: Sequence[float] | None, count: int, device: torch.device) -> list[float]:
        """Give every process the numbers that the first one has, ``count`` of them."""
        if self.size == 1:
            return list(numbers or ())
        shared = torch.zeros(count, dtype=torch.float64, device=device)
        if numbers is not None:
            shared.copy_(torch.tensor(numbers, dtype=torch.float64))
        dist.broadcast(shared, src=0)
        return [float(number) for number in shared.tolist()]


def world() -> World:
    """Who this process is: alone, unless a process group was joined."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that ``torchrun`` started together; without it, be alone."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        yield World()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield world()
    finally:
        dist.destroy_process_group()
