"""The same seed twice gives the same bits, and the list says what could change them."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
import torch
from torch import nn

from opsin.training.determinism import make_deterministic, not_deterministic

CPU = torch.device("cpu")


class Net(nn.Module):
    """Convolution, batch-norm, dropout, pooling, and a table whose rows are used many times."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(20, 8))
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(x.shape[-1] ** 2).mul(7) % 20
        table = self.table[rows.repeat(x.shape[0])].view(len(x), -1, 8).transpose(1, 2)
        found = torch.relu(self.norm(self.conv(x))).flatten(2) + table
        pooled = nn.functional.dropout(found.square().mean(2), 0.3, self.training)
        logits: torch.Tensor = self.head(pooled)
        return logits


def train(seed: int) -> bytes:
    torch.manual_seed(seed)
    model, x = Net(), torch.rand(16, 3, 24, 24)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(6):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(16) % 3).backward()
        optimizer.step()
    return b"".join(v.numpy().tobytes() for v in model.state_dict().values())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_twice_gives_the_same_weights(threads: int) -> None:
    torch.set_num_threads(threads)
    with make_deterministic(CPU):
        first = train(0)
        assert all(train(0) == first for _ in range(4))
        assert train(1) != first


def settings() -> tuple[object, ...]:
    return (
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )


def test_settings_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()
    with make_deterministic(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert settings() == before
    with suppress(KeyError), make_deterministic(CPU):
        raise KeyError
    assert settings() == before


def test_the_processor_lists_only_what_is_another_machine() -> None:
    assert all(line.startswith("another ") for line in not_deterministic(CPU))


def test_cuda_lists_what_torch_cannot_do_deterministically() -> None:
    """Against torch's own documentation, so that a new torch shows where the list is old."""
    documented = str(torch.use_deterministic_algorithms.__doc__).partition("will throw")[2]
    listed = " ".join(not_deterministic(torch.device("cuda")))
    for theirs, ours in [
        ("functional.interpolate", "interpolation"),
        ("bicubic", "bicubic"),
        ("AdaptiveAvgPool2d", "adaptive average pooling"),
        ("ReflectionPad2d", "reflection padding"),
        ("grid_sample", "grid_sample"),
        ("cumsum", "cumulative sums"),
        ("NLLLoss", "losses over maps"),
    ]:
        assert theirs in documented
        assert ours in listed
    assert "MPS" in " ".join(not_deterministic(torch.device("mps")))
