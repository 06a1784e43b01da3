"""The settings of a training run: one model, checked at once, unknown names refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from opsin.core.augment import normalise_augment
from opsin.core.preprocess import Resize

Augment = Annotated[str, AfterValidator(normalise_augment)]
Optimizer = Literal["adam", "adamw", "nadam", "sgd", "rmsprop", "adagrad"]
Schedule = Literal[
    "constant",
    "step",
    "multi_step",
    "exponential",
    "polynomial",
    "cosine",
    "cosine_restarts",
    "slanted_triangular",
    "one_cycle",
    "cyclical",
    "plateau",
]
Loss = Literal["cross_entropy", "focal", "bce", "mse", "mae", "huber"]
Balance = Literal["auto", "none", "weights", "sampling"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Layout = Literal["auto", "contiguous", "channels_last"]
Graphs = Literal["auto", "on", "off"]
Head = Literal["auto", "solved", "trained"]


def seconds_of(value: Any) -> float:
    """Seconds from a number or from words like 90s, 20m, 1.5h. Raises `ValueError`.

    >>> seconds_of("1.5h"), seconds_of("90s"), seconds_of(5)
    (5400.0, 90.0, 5.0)
    """
    units = {"s": 1, "m": 60, "h": 3600}
    text = str(value).strip().lower()
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ValueError("a time is a number and s, m or h, for example 20m")
    return seconds


Duration = Annotated[float, BeforeValidator(seconds_of)]


class TrainConfig(BaseModel):
    """Every setting of `opsin train`. Passing `config.yaml` back repeats the run."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    data: Path = Field(description="folder of pictures, one folder per class")
    model: str = Field("tinyvgg", description="tinyvgg, lenet, cnn3, or timm:NAME")
    pretrained: bool = Field(False, description="start from timm's weights (needs the network)")
    weights: Path | None = Field(None, description="start from this safetensors file")
    weights_record: Path | None = Field(
        None, description="the JSON that says how pictures for --weights are prepared"
    )
    freeze: bool = Field(False, description="train the head only, the backbone stays as it is")
    fine_tune: bool = Field(
        False, description="after the head, train all layers at a hundredth of the rate"
    )
    unfreeze: str | None = Field(
        None, description="with --fine-tune, only from this layer of the backbone on; else all"
    )
    head: Head = Field(
        "auto",
        description="of a frozen backbone: solved at once, or trained by steps; auto: solved",
    )
    views: int = Field(
        4, ge=1, le=64, description="augmented views of each picture for a frozen backbone"
    )
    augment: Augment = Field(
        "none",
        description="none, light, trivial, or names with commas: flip,rotate=15,mixup=0.2",
    )
    resize: Resize | None = Field(None, description="stretch, crop or pad; else the model's own")
    jpeg_gap: float | None = Field(
        None,
        ge=1,
        le=8,
        description="decode JPEGs at 1/2, 1/4, 1/8 while they stay this much larger than needed",
    )
    epochs: int = Field(20, ge=1, description="passes over the training pictures")
    batch_size: int = Field(32, ge=1, description="pictures in a step")
    image_size: int | None = Field(
        None, ge=8, le=4096, description="side in pixels; else the model's own"
    )
    lr: float = Field(1e-3, gt=0, lt=1e6, description="learning rate")
    optimizer: Optimizer = Field("adam", description="adam, adamw, nadam, sgd, rmsprop or adagrad")
    momentum: float | None = Field(
        None, ge=0, lt=1, description="of sgd (else 0.9) and rmsprop (else 0)"
    )
    nesterov: bool = Field(True, description="sgd looks ahead along its momentum")
    weight_decay: float = Field(
        0.0, ge=0, description="weight decay; biases and norms are left out of it"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="each block below the head learns at this share of the next"
    )
    loss: Loss = Field("cross_entropy", description="cross_entropy, focal, bce, mse, mae or huber")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each label that is spread over all classes"
    )
    balance: Balance = Field(
        "auto",
        description="rare classes count more by weights or by sampling; auto: weights above 10:1",
    )
    l1: float = Field(0.0, ge=0, description="times the sum of |w|, added to the loss")
    l2: float = Field(0.0, ge=0, description="times the sum of w squared, added to the loss")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features dropped before the head")
    clip_norm: float | None = Field(
        None, gt=0, description="longest gradient, as a norm over all parameters; else any"
    )
    accumulate: int = Field(
        1, ge=1, description="passes a step is cut into; --batch-size stays the whole step"
    )
    precision: Precision = Field(
        "float32", description="float32, bfloat16 or float16 arithmetic; auto: the faster"
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="judge and keep a moving average of the weights (0.99)"
    )
    schedule: Schedule = Field("constant", description="how the rate goes; --lr is its peak")
    warmup_epochs: float = Field(
        0.0, ge=0, description="epochs in which the rate rises from nothing, of each stage"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a better monitor; else never"
    )
    min_delta: float = Field(0.0, ge=0, description="a smaller gain in the monitor is none")
    baseline: float | None = Field(
        None,
        allow_inf_nan=False,
        description="stop when --patience epochs did not beat this value of the monitor",
    )
    monitor: str = Field(
        "val_loss", description="what decides the best epoch: val_ and any metric of the report"
    )
    restore_best: bool = Field(True, description="end with the best weights, not with the last")
    keep_best: tuple[str, ...] = Field(
        (), description="more metrics whose best weights are kept, with commas between them"
    )
    val_frac: float = Field(0.2, gt=0, lt=1, description="share of pictures for validation")
    test_frac: float = Field(0.1, gt=0, lt=1, description="share of pictures for the test")
    max_bad_frac: float = Field(
        0.05, ge=0, le=1, description="refuse data with a larger share of unreadable files"
    )
    follow_links: bool = Field(False, description="follow links that leave the data folder")
    strict: bool = Field(False, description="refuse data with leaks between splits")
    seed: int = Field(0, ge=0, lt=2**32, description="of everything that is drawn")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    workers: int = Field(0, ge=0, le=64, description="processes that decode and augment")
    threads: int | None = Field(None, ge=1, description="of torch; else torch's own choice")
    processes: int = Field(1, ge=1, le=64, description="that share each step of the training")
    layout: Layout = Field(
        "auto", description="of weights in memory: contiguous or channels_last; auto: the faster"
    )
    graphs: Graphs = Field(
        "auto", description="launch steps as CUDA graphs: on, off; auto: where a trial is faster"
    )
    tune: bool = Field(
        True, description="hold memory, and time threads and layout before the first step"
    )
    cache: bool = Field(
        True, description="keep decoded pictures and features for later runs (opsin cache)"
    )
    checkpoint_steps: int | None = Field(
        None, ge=1, description="steps from one checkpoint to the next; else by time alone"
    )
    checkpoint_seconds: float = Field(
        30.0, ge=0, description="seconds from one checkpoint to the next"
    )
    disk_wait: float = Field(
        600.0, ge=0, description="seconds to wait for room when the disk is full"
    )
    max_time: Duration | None = Field(
        None, description="stop after so long: 90s, 20m, 1.5h, resumed time counted"
    )
    samples: int = Field(0, ge=0, le=64, description="validation pictures drawn after each epoch")
    log_gradients: bool = Field(False, description="write gradients.csv: norms of each layer")
    log_rates: bool = Field(False, description="write rates.csv: the learning rate of each step")
    project: Path = Field(Path("runs"), description="folder that holds the runs")
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="of the run folder",
    )
    report: bool = Field(True, description="write report.html")
    bundle: bool = Field(True, description="write the bundle")

    @field_validator("keep_best", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


ELSEWHERE = {
    *("data", "project", "name", "report", "bundle", "workers", "threads", "device"),
    *("weights_record", "max_bad_frac", "strict", "follow_links", "processes"),
    *("checkpoint_steps", "checkpoint_seconds", "disk_wait", "max_time", "keep_best"),
    *("samples", "log_gradients", "log_rates", "layout", "graphs", "tune", "cache"),
}
"""Settings that do not decide what is learnt, or that something else is compared for."""


def learning_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide what is learnt: a resumed run must have the same."""
    values = config.model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in ELSEWHERE}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each setting that is not what it was.

    >>> differing({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0})
    ['lr was 0.1, is 0.2']
    """
    return [
        f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
