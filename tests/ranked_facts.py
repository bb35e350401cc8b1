"""What two ranks find out about their group, as JSON in facts_0.json and facts_1.json.

They are forked, so that PyTorch is imported once, and rank 0 keeps the store, as without torchrun's.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

import torch

from speed_test.frameworks import pytorch, pytorch_group
from speed_test.ranks import Place

SAMPLES, BATCH_SIZE, WIDTH = 45, 8, 3  # two whole steps of two ranks, and 13 samples


def trained(batches, make, next_step):
    """The parameters of a linear network after each step on `batches`."""
    torch.manual_seed(0)
    model = make(torch.nn.Linear(WIDTH, 1, dtype=torch.float64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for number, (inputs, outputs) in enumerate(batches):
        next_step(number)
        loss = (model(inputs) - outputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append([value for parameter in model.parameters() for value in parameter.detach().flatten().tolist()])
    return found


def find_out(place):
    torch.manual_seed(1)
    inputs, outputs = torch.rand(SAMPLES, WIDTH, dtype=torch.float64), torch.rand(SAMPLES, 1, dtype=torch.float64)
    # One process: the whole of each step, in the order that the ranks will draw.
    whole = next(iter(pytorch.shuffled_batches(inputs, outputs, batch_size=SAMPLES, seed=5)()))
    facts = {"threads before": torch.get_num_threads()}

    group = pytorch_group.join(place, "cpu", "facts", compiled=False)
    of_ranks = [list(pytorch_group.shares(SAMPLES, BATCH_SIZE, place.size, rank)) for rank in range(place.size)]
    steps = [(min(step)[0], max(step)[1]) for step in zip(*of_ranks, strict=True)]
    alone = trained(
        ([part[first:last] for part in whole] for first, last in steps), make=lambda model: model, next_step=unweighted
    )
    batches = pytorch.shuffled_batches(inputs, outputs, torch.arange(SAMPLES), batch_size=BATCH_SIZE, seed=5)
    own = list(batches())
    group.start_epoch(SAMPLES, BATCH_SIZE)
    together = trained((batch[:2] for batch in own), make=pytorch_group.parallel, next_step=group.next_step)
    group.end_epoch()
    facts |= {
        "seen": [int(number) for batch in own for number in batch[2]],
        "sizes": [len(batch[0]) for batch in own],
        "own sizes": group.own_sizes(SAMPLES, BATCH_SIZE),
        "alone": alone,
        "together": together,
        "batches of a loader": list(pytorch_group.ShareOfBatches(list(range(SAMPLES)), BATCH_SIZE)),
        "total": group.total(1.0 + place.rank),
        "highest": group.highest(float(place.rank)),
        "highest of none": group.highest(None),
        "agreed": [group.agreed(place.rank == 0), group.agreed(place.rank == 1)],
        "agreed later": [group.agreed_later(place.rank == rank) for rank in (1, 0, 1, 0)],
        "interface": os.environ["GLOO_SOCKET_IFNAME"],
    }
    group.end_epoch()
    facts["agreed in the next epoch"] = group.agreed_later(False)
    group.end_epoch()
    group.leave()
    facts["shares after leaving"] = len(list(pytorch_group.shares_of(SAMPLES, BATCH_SIZE)))
    Path(sys.argv[1], f"facts_{place.rank}.json").write_text(json.dumps(facts))


def unweighted(number):
    """One process has nothing to weigh."""


def main():
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    ranks = []
    for rank in (0, 1):
        if not (process := os.fork()):
            try:
                find_out(Place(rank, 2, rank, 2, 1, "localhost", port, False))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        ranks.append(process)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0 for process in ranks))


if __name__ == "__main__":
    main()
