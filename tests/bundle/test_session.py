"""The session's options: they hold, and no number of threads changes an answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from opsin.bundle.load import load_bundle
from opsin.bundle.predictor import Predictor
from opsin.bundle.session import open_session
from opsin.core.cores import usable_cores
from opsin.testing.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("session") / "bundle")


def test_the_options_are_those_that_were_measured(bundle: Path) -> None:
    graph = load_bundle(bundle).graph.read_bytes()
    options = open_session(graph, threads=3).get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.enable_cpu_mem_arena
    assert options.enable_mem_pattern


def test_no_number_asked_for_is_every_core_of_ours(bundle: Path) -> None:
    graph = load_bundle(bundle).graph.read_bytes()
    options = open_session(graph).get_session_options()
    assert options.intra_op_num_threads == usable_cores()


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", None),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("nonsense", None),
        ("1 0", None),
        (None, None),
    ],
)
def test_a_container_is_given_no_more_than_its_quota(
    tmp_path: Path, text: str | None, cores: int | None
) -> None:
    quota = tmp_path / "cpu.max"
    if text is not None:
        quota.write_text(text, "ascii")
    ours = usable_cores(tmp_path / "absent")
    assert usable_cores(quota) == (ours if cores is None else min(ours, cores))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_core_takes_one_thread(bundle: Path) -> None:
    program = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from pathlib import Path; from opsin.bundle.session import open_session; "
        "graph = Path(sys.argv[1], 'model.onnx').read_bytes(); "
        "print(open_session(graph).get_session_options().intra_op_num_threads)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(bundle)], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "1", said.stderr
    assert not said.stderr


def test_the_answer_does_not_depend_on_threads(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 64, 64), np.uint8)
    answers = [Predictor(loaded, threads=n).probabilities(images) for n in (1, 2, 4)]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-6)


def test_many_pictures_are_asked_in_parts_and_answered_in_order(bundle: Path) -> None:
    predictor = Predictor(load_bundle(bundle))
    images = np.random.default_rng(1).integers(0, 256, (120, 3, 64, 64), np.uint8)
    sizes: list[int] = []
    run = predictor._session.run

    def counted(names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
        sizes.append(len(given["image"]))
        answer: list[np.ndarray] = run(names, given)
        return answer

    class Counted:
        run = staticmethod(counted)

    predictor._session = Counted()
    answers = predictor.probabilities(images)
    assert sizes == [49, 49, 22]
    alone = np.concatenate([predictor.probabilities(images[i : i + 1]) for i in range(120)])
    np.testing.assert_allclose(answers, alone, atol=1e-6)
