"""PyTorch on several GPUs and machines: the process group, each rank's share of the samples, and the wrapped model.

A script needs two lines for it: `model = parallel(model)`, and batches that are made of `shares_of`.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from speed_test.command_line import BadInput
from speed_test.group import Group, shares
from speed_test.machine import cpu_cores

if TYPE_CHECKING:
    import torch
    import torch.distributed

    from speed_test.command_line import Options
    from speed_test.ranks import Place

PATIENCE = timedelta(minutes=5)  # of ranks that wait for one that still reads its data
# Of ranks that wait for one in mid-epoch, where all do the same work: below a minute, so that one that hangs ends a
# batch size within it. Compiling may take one much longer than the others.
TIMEOUT, TIMEOUT_COMPILED = timedelta(seconds=40), timedelta(minutes=5)
LOOPBACK = ("127.", "::1", "localhost")

_group: "ProcessGroup | None" = None  # of this process, once it has joined


def launcher(options: "Options") -> tuple[list[str] | None, int]:
    """The arguments for Python that start --processes of a script together, and how many that are; None if one is
    enough.

    Raises BadInput if the device cannot take so many.
    """
    import torch

    from speed_test.frameworks.pytorch import describe_device

    device = describe_device(options.device).type
    gpus = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device)
    wanted = (gpus or 1) if isinstance(options.processes, str) else options.processes
    if gpus and wanted > gpus:
        raise BadInput(
            f"--processes: {wanted} need a GPU each, and there {'is' if gpus == 1 else 'are'} {gpus}; "
            f"take --processes={'1' if gpus == 1 else 'all'}, or --device=cpu"
        )
    # Two may share a single core, for trying it out.
    if not gpus and wanted > (most := max(2, cpu_cores() or 2)):
        raise BadInput(f"--processes: {wanted} on the CPU are more than its cores; take {most} at most")
    if wanted == 1:
        return None, 1
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(wanted)], wanted


def check_place(place: "Place", device: str) -> None:
    """Raise BadInput if there is no `device` for this rank."""
    import torch

    if device == "mps":
        raise BadInput("a Mac has one GPU, so there is nothing to share: leave --processes, or the launcher, out")
    if device == "cuda" and place.local_rank >= torch.cuda.device_count():
        raise BadInput(
            f"LOCAL_RANK is {place.local_rank}, but PyTorch finds {torch.cuda.device_count()} GPUs on this machine; "
            "start no more processes than there are GPUs, or take --device=cpu"
        )


def find_rank_0(place: "Place", offer: str) -> dict[str, str]:
    """What rank 0 offers, with the host at which it is reached: put into the launcher's store, and read from there."""
    store = _store(place, f"sweeps of {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}")
    if place.rank == 0:
        store.set("rank 0", json.dumps({"offer": offer, "host": _own_address(place.master)}))
    found = json.loads(store.get("rank 0"))
    if found["host"].startswith(LOOPBACK):
        found["host"] = place.master
    return found


def _store(place: "Place", name: str) -> "torch.distributed.Store":
    """The key-value store that the launcher keeps, or else rank 0 does; keys of another `name` are not seen."""
    from torch.distributed import PrefixStore, TCPStore

    is_master = place.rank == 0 and not place.agent_store
    store = TCPStore(place.master, place.port, is_master=is_master, timeout=PATIENCE, multi_tenant=True)
    return PrefixStore(f"speed test, {name}", store)


def _own_address(master: str) -> str:
    """The address of this machine on the way to `master`. No packet is sent for it."""
    with contextlib.suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(master, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as way:
            way.connect(address)
            return way.getsockname()[0]
    return master


def _choose_interface(master: str) -> None:
    """Let gloo use the interface that leads to `master`, unless the user has named one: by itself it takes that of the
    host's name, which on Debian is the loopback interface, where no other machine is reached."""
    import psutil

    own = _own_address(master)
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == own for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def join(place: "Place", device: str, name: str, compiled: bool) -> "ProcessGroup":
    """Join the ranks that train together under `name`, which no earlier group has had."""
    global _group
    import torch
    import torch.distributed as dist

    gpu = torch.device("cuda", place.local_rank) if device == "cuda" else None
    if gpu:
        torch.cuda.set_device(gpu)
    _choose_interface(place.master)
    _group = ProcessGroup(place, _store(place, name), gpu)
    # torchrun sets OMP_NUM_THREADS=1, unless the user has set it, and nobody can tell which.
    torch.set_num_threads(own_cores())
    _group.meet()  # they start seconds apart, and the group is less patient
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",  # tensors on the CPU need gloo also beside NCCL
        store=dist.PrefixStore("group", _group.store),
        rank=place.rank,
        world_size=place.size,
        timeout=TIMEOUT_COMPILED if compiled else TIMEOUT,
        device_id=gpu,
    )
    return _group


class ProcessGroup(Group):
    """The ranks that train together, see group.Group: by gloo on the CPU, whatever device they train on."""

    def __init__(self, place: "Place", store: "torch.distributed.Store", gpu: "torch.device | None") -> None:
        self.rank = place.rank
        self.size = place.size
        self.local_size = place.local_size
        self.store = store
        self.gpu = gpu
        self.weight = 1 / self.size  # of this rank's gradients in the sum over all
        self._weights: list[float] = []  # of the steps of an epoch
        self._meetings = 0
        self._asked: list[tuple[Any, torch.Tensor]] = []

    def meet(self) -> None:
        self._meetings += 1
        self.store.set(f"{self._meetings}, {self.rank}", "here")
        self.store.wait([f"{self._meetings}, {rank}" for rank in range(self.size)], PATIENCE)

    def wait(self) -> None:
        self.total(0.0)

    def agreed(self, mine: bool) -> bool:
        import torch

        word = torch.tensor([mine])
        torch.distributed.broadcast(word, 0)
        return bool(word)

    def agreed_later(self, mine: bool) -> bool:
        import torch

        answer = self._answer()
        word = torch.tensor([mine])
        work = torch.distributed.broadcast(word, 0, async_op=True)
        self._asked.append((work, word))
        return answer

    def _answer(self) -> bool:
        if not self._asked:
            return False
        work, word = self._asked.pop()
        work.wait()
        return bool(word)

    def total(self, mine: float) -> float:
        return self._reduced(mine, "SUM")

    def highest(self, mine: float | None) -> float | None:
        found = self._reduced(float("-inf") if mine is None else mine, "MAX")
        return None if found == float("-inf") else found

    def _reduced(self, mine: float, operation: str) -> float:
        import torch

        value = torch.tensor([mine], dtype=torch.float64)
        torch.distributed.all_reduce(value, getattr(torch.distributed.ReduceOp, operation))
        return float(value)

    def start_epoch(self, samples: int, batch_size: int) -> None:
        """With loss x own samples / all samples of a step, the result is that of one process."""
        of_ranks = [shares(samples, batch_size, self.size, rank) for rank in range(self.size)]
        steps = ([last - first for first, last in step] for step in zip(*of_ranks, strict=True))
        self._weights = [sizes[self.rank] / sum(sizes) for sizes in steps]

    def next_step(self, number: int) -> None:
        if number < len(self._weights):  # it is also asked for a batch after the last
            self.weight = self._weights[number]

    def end_epoch(self) -> None:
        self.weight = 1 / self.size
        self._answer()

    def leave(self) -> None:
        """From here on, a model must be used without its wrapping: that waits for the others in each forward pass."""
        global _group
        import torch

        self.meet()
        # Without a launcher's store rank 0 keeps it, so the others have to be done with it before that one ends.
        self.store.set(f"left, {self.rank}", "")
        if self.rank == 0:
            self.store.wait([f"left, {rank}" for rank in range(self.size)], PATIENCE)
        torch.distributed.destroy_process_group()
        _group = None


# ---- For scripts ----


def parallel(model: "torch.nn.Module") -> "torch.nn.Module":
    """The model as all ranks train it together, by DistributedDataParallel; as it is if one process trains alone.

    One that is wrapped already, as Accelerator.prepare does, only gets the weighting of its gradients.
    """
    if not _group:
        return model
    from torch.nn.parallel import DistributedDataParallel

    if not isinstance(model, DistributedDataParallel):
        model = DistributedDataParallel(model, device_ids=[_group.gpu] if _group.gpu else None)
    model.register_comm_hook(_group, _weighted_sum)
    return model


def _weighted_sum(group, bucket):  # PyTorch looks at the types, and takes no quoted ones
    """In place of the mean over ranks: batches of different sizes at the end of an epoch count by their samples.

    https://docs.pytorch.org/docs/stable/ddp_comm_hooks.html
    """
    from torch.distributed import all_reduce

    gradients = bucket.buffer().mul_(group.weight)
    return all_reduce(gradients, async_op=True).get_future().then(lambda done: done.value()[0])


def shares_of(samples: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """This rank's batches of an epoch, as (first, last + 1) in the order that all ranks have drawn."""
    return shares(samples, batch_size, _group.size if _group else 1, _group.rank if _group else 0)


class ShareOfBatches:
    """A `batch_sampler` for a DataLoader: this rank's batches, as lists of indices, in the order of `sampler`, which
    has to be the same at all ranks."""

    def __init__(self, sampler: "torch.utils.data.Sampler[int]", batch_size: int) -> None:
        self._sampler = sampler
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(list(shares_of(len(self._sampler), self._batch_size)))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self._sampler)
        for first, last in shares_of(len(order), self._batch_size):
            yield order[first:last]


def own_cores() -> int:
    """The CPU cores for each of the processes that train on this machine."""
    return max(1, (cpu_cores() or 1) // (_group.local_size if _group else 1))
