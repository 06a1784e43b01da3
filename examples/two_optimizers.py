"""A GAN: two networks and two optimizers in one `Step`, in the same loop, kill-proof as all.

A generator learns to put points on a ring. python examples/two_optimizers.py FOLDER
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

from opsin.core.batch import Batch
from opsin.data.own_loader import OwnLoader
from opsin.tasks.meter import Meter, Meters
from opsin.training.callback import Callback
from opsin.training.checkpoint import CheckpointStore
from opsin.training.history import History
from opsin.training.loop import Trainer
from opsin.training.optim import set_rate
from opsin.training.processes import Processes
from opsin.training.saving import Saving
from opsin.training.stage import Stage
from opsin.training.step import BeforeUpdate, Moment, Step
from opsin.training.sums import Values


class Gan(Step):
    """`generator` makes points of noise, `critic` says how real a point looks (a logit).
    Source: Goodfellow et al. (2014), with the loss of the generator that does not saturate.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, *, lr: float) -> None:
        self.generator, self.critic = generator, critic
        self.module = nn.ModuleDict({"generator": generator, "critic": critic})
        self._optimizers = {
            name: torch.optim.Adam(part.parameters(), lr=lr, betas=(0.0, 0.9))
            for name, part in self.module.items()
        }

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def begin(self, device: torch.device, processes: Processes) -> None:
        pass

    def learn(self, batch: Batch, moment: Moment, before_update: BeforeUpdate) -> Values:
        made = self.generator(torch.randn_like(batch.inputs))  # the loop has seeded torch
        critic = softplus(-self.critic(batch.inputs)) + softplus(self.critic(made.detach()))
        self._update("critic", critic, moment.rate, before_update)
        generator = softplus(-self.critic(made))
        self._update("generator", generator, moment.rate, before_update)
        return {"loss": critic[:, 0].detach(), "generator_loss": generator[:, 0].detach()}

    def _update(self, name: str, losses: Tensor, rate: float, before: BeforeUpdate) -> None:
        optimizer, loss = self._optimizers[name], losses.mean()
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        loss.backward()
        before(optimizer, loss.item())
        optimizer.step()

    def evaluate(self, batch: Batch, meter: Meter) -> Values:
        """How far each real point is from the nearest made one, and the other way round."""
        noise = torch.Generator().manual_seed(0)
        made = self.generator(torch.randn(batch.inputs.shape, generator=noise))
        far = torch.cdist(batch.inputs, made)
        return {"loss": far.amin(0) + far.amin(1)}

    def meter(self, names: Sequence[str]) -> Meter:
        return Meters()


def network(outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2),
        nn.Linear(64, outputs),
    )  # fmt: skip


def ring(points: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(points, generator=draw)
    radius = 1 + 0.02 * torch.randn(points, generator=draw)
    return TensorDataset(torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None], angle)


def train(folder: Path, *, epochs: int = 20, callbacks: Sequence[Callback] = ()) -> History:
    torch.manual_seed(0)
    step = Gan(network(2), network(1), lr=1e-3)
    real = OwnLoader(DataLoader(ring(2048, 0), batch_size=128, shuffle=True))
    unseen = OwnLoader(DataLoader(ring(256, 1), batch_size=256), "val", learns=False)
    store = CheckpointStore(folder)
    trainer = Trainer(
        step.module,
        [Stage("gan", epochs, 1e-3, real, unseen, step)],
        checkpoints=store,
        device=torch.device("cpu"),
        seed=0,
        callbacks=callbacks,
        saving=Saving(steps=10),
    )
    return trainer.fit(store.newest()[0])


if __name__ == "__main__":
    torch.set_num_threads(1)  # two would wait for each other
    history = train(Path(sys.argv[1]))
    for record in history.records:
        print(f"epoch {record.epoch}: {record.values['val_loss']:.3f} from the ring")
