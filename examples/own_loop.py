"""A training loop by hand, from the parts of opsin. Killed and started again, it goes on.

python examples/own_loop.py FOLDER
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from opsin.core.seeding import torch_seed
from opsin.data.own_loader import OwnLoader
from opsin.training.checkpoint import CheckpointStore
from opsin.training.optim import make_optimizer, set_rate
from opsin.training.schedules import make_schedule
from opsin.training.snapshot import pack_parts, unpack_parts
from opsin.training.sums import Sums


def train(folder: Path, *, epochs: int = 20, lr: float = 0.02, seed: int = 0) -> nn.Module:
    x = torch.linspace(-3, 3, 200)[:, None]
    data = DataLoader(TensorDataset(x, x.sin()), batch_size=16, shuffle=True)
    loader, store = OwnLoader(data, seed=seed), CheckpointStore(folder)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Dropout(0.05), nn.Linear(32, 1))
    optimizer = make_optimizer("adam", model.parameters(), lr=lr)
    schedule, sums, done = make_schedule("cosine"), Sums(), 0
    saved, _ = store.newest()
    if saved:
        unpack_parts(saved.state["parts"], saved.tensors, model=model, optimizer=optimizer)
        done, sums = saved.state["done"], Sums(saved.state["sums"])
    steps = len(loader.plan(1))
    for epoch in range(done // steps + 1, epochs + 1):
        for batch in loader.epoch(epoch, start=done % steps):
            torch.manual_seed(torch_seed(seed, done, "step"))  # for dropout
            set_rate(optimizer, lr * schedule(done / (epochs * steps)))
            losses = (model(batch.inputs) - batch.targets).square().mean(1)
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            sums.add({"loss": losses})
            done += 1
            if done % 10 == 0:
                parts, tensors = pack_parts(model=model, optimizer=optimizer)
                store.save(done, {"done": done, "sums": sums.totals(), "parts": parts}, tensors)
        print(f"epoch {epoch}/{epochs}  loss {sums.means('')['loss']:.4f}")
        sums = Sums()
    return model.eval()


if __name__ == "__main__":
    torch.set_num_threads(1)  # two would wait for each other
    train(Path(sys.argv[1]))
