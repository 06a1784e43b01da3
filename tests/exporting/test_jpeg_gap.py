"""One gap, the same pixels everywhere: loader, predict and server decode a JPEG at one scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from opsin.bundle.load import Bundle
from opsin.bundle.predict_files import predict_files
from opsin.bundle.predictor import Predictor
from opsin.data.decode import Limits, decode, decode_file
from opsin.data.pixels import PixelStore
from opsin.data.scan import scan
from opsin.exporting.to_bundle import export_bundle
from opsin.models.build import Origin, build, design
from opsin.serving.worker import BundleWorker
from opsin.tasks.classification import Classification

GAP = 1.5


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported with the usual proof of parity, the one through the graph's own resize too."""
    plan = design("tinyvgg", Origin(), image_size=40, resize="crop", jpeg_gap=GAP)
    assert plan.spec.jpeg_gap == GAP
    task = Classification(("a", "b", "c"))
    model = build(plan, Origin(), task.num_outputs, seed=1)
    target = tmp_path_factory.mktemp("gap") / "bundle"
    return export_bundle(model, task, plan, task.classes, target)


@pytest.fixture(scope="module")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three real photos, one of them turned by its EXIF data, and a PNG."""
    folder = tmp_path_factory.mktemp("photos")
    found = sorted((shared_data / "pizza_steak_sushi/test/pizza").glob("*.jpg"))[:3]
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, path in enumerate(found):
        (folder / f"{number}.jpg").write_bytes(path.read_bytes())
    with Image.open(found[0]) as picture:
        picture.save(folder / "turned.jpg", exif=exif)
        picture.save(folder / "plain.png")
    return sorted(folder.iterdir())


Prepared = list[NDArray[np.uint8]]


def by_the_scan(bundle: Bundle, photos: list[Path]) -> Prepared:
    """As `train` and `evaluate` take them in."""
    got: dict[int, NDArray[np.uint8]] = {}
    files = [(path.name, path) for path in photos]
    records = scan(files, spec=bundle.spec, on_pixels=lambda n, image: got.update({n: image}))
    for record in records:
        with Image.open(record.path) as picture:
            size = picture.size[::-1] if record.source_id == "turned.jpg" else picture.size
        assert (record.width_px, record.height_px) == size, "the file's own size"
    return [got[number] for number in range(len(photos))]


def by_the_loader(bundle: Bundle, photos: list[Path]) -> Prepared:
    """As the loader decodes what no store has kept."""
    store = PixelStore(photos, bundle.spec, budget_bytes=0)
    return list(store.gather(range(len(photos))).transpose(0, 2, 3, 1))


class Recorder(Predictor):
    """Keeps what it is asked about."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.seen: Prepared = []

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The answers, and the pictures noted as H W 3."""
        self.seen += list(images.transpose(0, 2, 3, 1))
        return super().probabilities(images)


def by_predict(bundle: Bundle, photos: list[Path]) -> Prepared:
    """As `opsin predict` asks, which batches in order of completion: one file at a time."""
    recorder = Recorder(bundle)
    for path in photos:
        predict_files(recorder, [(path.name, path)])
    return recorder.seen


def by_the_server(bundle: Bundle, photos: list[Path]) -> Prepared:
    """As the server's worker decodes and infers."""
    worker = BundleWorker(bundle.path, expected_hash=bundle.hash, threads=1, limits=Limits())
    worker._predictor = recorder = Recorder(bundle)
    for path in photos:
        answer, _ = worker({"do": "decode", "name": path.name}, path.read_bytes())
        assert (answer["height_px"], answer["width_px"]) == decode_file(path).size_px
        worker({"do": "infer"}, b"")
    return recorder.seen


@pytest.mark.parametrize("way", [by_the_scan, by_the_loader, by_predict, by_the_server])
def test_the_same_pixels_everywhere(
    way: Callable[[Bundle, list[Path]], Prepared], bundle: Bundle, photos: list[Path]
) -> None:
    spec = bundle.spec
    assert spec.jpeg_gap == GAP, "it travels in the bundle"
    wanted = [spec.prepare(decode(path.read_bytes(), spec=spec).image) for path in photos]
    in_full = [spec.prepare(decode(path.read_bytes()).image) for path in photos]
    got = way(bundle, photos)
    assert len(got) == len(photos)
    for path, ours, reference, full in zip(photos, got, wanted, in_full, strict=True):
        np.testing.assert_array_equal(ours, reference, path.name)
        assert np.array_equal(ours, full) == (path.suffix == ".png"), "else there is no gap to see"
