"""Every row by its name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench import Bench
from table import Row

from rows import accelerator, decoding, foretold, growth, inference, memory, steps, training
from rows.training import PEERS, PLAIN, Training

COLOUR = "hflip,rotate=15,brightness=0.2,contrast=0.2,saturation=0.2"

A9 = Training("pizza_steak_sushi", "tinyvgg", 64, dict.fromkeys(PEERS, 3.0), steady=4.5)
A1 = Training(
    "happy_sad",
    "cnn3",
    256,
    {**dict.fromkeys(PLAIN, 3.0), "Keras/TensorFlow": 2.0},
)
FROZEN = Training(
    "pizza_steak_sushi",
    "mobilenetv2_100",
    224,
    {"plain PyTorch, 0 workers": 10.0, "fastai": 10.0},
    frozen=True,
    epochs=10,
)


@dataclass(frozen=True)
class Entry:
    """A row: its title, and what measures it."""

    title: str
    measure: Callable[[Bench, Row], None]


def _training(title: str, what: Training) -> Entry:
    return Entry(title, lambda bench, row: training.measure(what, bench, row))


def _augmented(plain: Training, name: str, recipe: str) -> Training:
    """`plain` with an augmentation; `name`: what the peers call it."""
    options = ("--augment", recipe)
    return replace(
        plain, targets=dict.fromkeys(PLAIN, 3.0), options=options, augment=name, steady=None
    )


ROWS = {
    "a9": _training("A9: TinyVGG 64 px, pizza_steak_sushi, 20 epochs", A9),
    "a1": _training("A1: cnn3 256 px, happy_sad, 20 epochs", A1),
    "a9-trivial": _training("A9 with TrivialAugment", _augmented(A9, "trivial", "trivial")),
    "a9-colour": _training("A9 with flip, rotation and colour", _augmented(A9, "colour", COLOUR)),
    "a1-trivial": _training("A1 with TrivialAugment", _augmented(A1, "trivial", "trivial")),
    "a1-auto": _training(
        "A1 with --precision auto",
        replace(A1, targets={"Keras/TensorFlow": 2.0}, options=("--precision", "auto")),
    ),
    "frozen": _training("Frozen mobilenetv2_100 224 px, to what 10 plain epochs reach", FROZEN),
    "steps": Entry("One training step", steps.measure),
    "decode": Entry("Decode and resize 512 px JPEGs, pictures a second a core", decoding.measure),
    "inference": Entry("Answers of mobilenetv2_100 at 224 px", inference.measure),
    "forecast": Entry("What the plan says a run will take", foretold.measure),
    "memory": Entry("Peak memory as the set grows", memory.measure),
    "growth": Entry("Seconds of an epoch as the work grows", growth.measure),
    "accelerator": Entry("ResNet-50 224 px bf16 on an accelerator", accelerator.measure),
}
