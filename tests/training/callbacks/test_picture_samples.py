"""A sheet of pictures after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.training.callbacks.kills import run_killed, run_whole
from tests.training.points import CLASSES, Points, bits, make_trainer
from torch import nn

from opsin.core.preprocess import PreprocessSpec
from opsin.data.transform import Normalise
from opsin.training.callback import Callback
from opsin.training.callbacks.averaging import Averaging
from opsin.training.callbacks.contact_sheet import Tile, write_sheet
from opsin.training.callbacks.picture_samples import PictureSamples, unnormalised
from opsin.training.events import ValidationStart

COUNT = 7


def pictures(count: int, side: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def source() -> Any:
    val = Points(31, 2, shuffle=False)
    return val.inputs, val.targets, pictures(31)


def samples(folder: Path, **options: Any) -> PictureSamples:
    def answer(outputs: torch.Tensor) -> torch.Tensor:
        return outputs.softmax(1)

    return PictureSamples(folder, source, CLASSES, count=COUNT, answer=answer, **options)


def test_shows_what_the_judged_weights_say(tmp_path: Path) -> None:
    """Computed beside it from the averaged weights, drawn by the same function."""
    shown: list[list[Tile]] = []

    class Ask(Callback):
        def on_validation_start(self, start: ValidationStart) -> None:
            inputs, targets, drawn = source()
            with torch.no_grad():
                found = start.model.eval()(inputs[:COUNT]).softmax(1)
            values, numbers = found.max(1)
            shown.append(
                [
                    Tile(drawn[n], CLASSES[numbers[n]], float(values[n]), CLASSES[targets[n]])
                    for n in range(COUNT)
                ]
            )

    callbacks = [Averaging(0.9), samples(tmp_path / "samples"), Ask()]
    make_trainer(tmp_path / "c", epochs=3, callbacks=callbacks).fit()
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["epoch-0001.png", "epoch-0002.png", "epoch-0003.png"]
    for number, name in enumerate(names, start=1):
        write_sheet(tmp_path / name, shown[number - 1], f"epoch {number}")
        assert (tmp_path / "samples" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_changes_no_bit_and_is_the_same_after_kills(tmp_path: Path) -> None:
    plain = run_whole(tmp_path / "p", list)
    whole = run_whole(tmp_path / "a", lambda: [samples(tmp_path / "in-a")])
    again = run_killed(tmp_path / "b", lambda: [samples(tmp_path / "in-b")])
    assert bits(plain.model) == bits(whole.model) == bits(again.model)
    ours = sorted((tmp_path / "in-a").iterdir())
    assert len(ours) == 6
    for path in ours:
        assert path.read_bytes() == (tmp_path / "in-b" / path.name).read_bytes()


def test_every_part_keeps_its_mode(tmp_path: Path) -> None:
    """A backbone whose head learns alone from features is in nobody's hands but ours."""
    from opsin.training.events import TrainStart

    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    model[2].eval()
    callback = samples(tmp_path / "samples")
    callback.on_train_start(TrainStart(model, None, 1, 0))  # type: ignore[arg-type]
    callback.on_validation_start(ValidationStart(1, model))
    assert [part.training for part in model.modules()] == [True, True, True, False]
    assert (tmp_path / "samples" / "epoch-0001.png").exists()


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "samples").write_text("in the way")
    callback = samples(tmp_path / "samples", say=said.append, wait_s=0.1)
    make_trainer(tmp_path / "c", epochs=2, callbacks=[callback]).fit()
    assert len(said) == 1


def test_frames_tell_right_from_wrong(tmp_path: Path) -> None:
    blue = np.full((10, 20, 3), (7, 7, 199), np.uint8)
    write_sheet(tmp_path / "s.png", [Tile(blue, "a", 0.9, "a"), Tile(blue, "b", 0.5, "a")], "t")
    with Image.open(tmp_path / "s.png") as image:
        sheet = np.array(image)
    assert [tuple(map(int, sheet[50, x])) for x in (16, 16 + 184)] == [(0, 122, 61), (190, 30, 45)]
    assert (sheet == (7, 7, 199)).all(2).sum() == 2 * (80 * 160)  # eight times as large, shape kept


@pytest.mark.parametrize("side", [1, 24, 500])
@pytest.mark.parametrize(
    "name", ["a\nb", "caf\udce9" * 30, "🦊" * 40, ""], ids=["newline", "bytes", "emoji", "empty"]
)
def test_any_size_and_any_name(tmp_path: Path, side: int, name: str) -> None:
    tiles = [Tile(picture, name, 0.5, "x") for picture in pictures(3, side)]
    write_sheet(tmp_path / "s.png", tiles, "epoch 1")
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == (14 + 2 * 184, 14 + 34 + 2 * 224)


def test_pictures_come_back_from_what_the_model_sees() -> None:
    spec = PreprocessSpec(
        size_px=(16, 20), crop_frac=0.8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    height, width = spec.prepared_px
    prepared = np.random.default_rng(0).integers(0, 256, (2, 3, height, width), np.uint8)
    inputs = Normalise(spec)(torch.from_numpy(prepared))
    top, left = spec.margin_px
    wanted = prepared[:, :, top : top + 16, left : left + 20].transpose(0, 2, 3, 1)
    assert np.array_equal(unnormalised(inputs, spec), wanted)
