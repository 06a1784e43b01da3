"""A child may do what it likes: the parent always gets an answer, and goes on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsin.core.errors import DataRefused, ModelRefused
from opsin.core.frames import BrokenFrame, read_frame, write_frame
from opsin.core.isolated import (
    IsolatedWorker,
    WorkerFault,
    WorkerLost,
    WorkerTimeout,
    report_stage,
)
from opsin.data.decode import Undecodable

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _targets_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def worker() -> Iterator[IsolatedWorker]:
    with IsolatedWorker("isolated_targets:many", {"a": [1, None]}) as worker:
        yield worker


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def wait_until_dead(pid: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_header_payload_and_config_travel_unchanged(worker: IsolatedWorker) -> None:
    header = {"do": "echo", "name": "caf\udce9 🐈\n", "number": 1.5}
    answer, payload = worker.call(header, b"\0\1\2", timeout_s=10)
    assert answer["header"] == header
    assert answer["config"] == {"a": [1, None]}
    assert payload == b"\2\1\0"
    assert answer["pid"] == worker.pid != os.getpid()
    assert worker.restarts == 0
    assert worker.stage == "decode"


def test_a_payload_larger_than_any_pipe_buffer(worker: IsolatedWorker) -> None:
    data = bytes(range(256)) * 40_000
    assert worker.call({"do": "echo"}, data, timeout_s=20)[1] == data[::-1]


def test_an_opsin_error_arrives_as_itself(worker: IsolatedWorker) -> None:
    with pytest.raises(Undecodable) as caught:
        worker.call({"do": "refuse"}, timeout_s=10)
    error = caught.value
    assert (error.code, error.message, error.where, error.fix) == (
        "empty_file",
        "0 bytes",
        "a.png",
        "copy it",
    )
    assert isinstance(error, DataRefused)
    assert error.exit_code == 3
    assert worker.restarts == 0


def test_another_exception_is_a_fault_and_the_process_lives(worker: IsolatedWorker) -> None:
    pid = worker.call({"do": "echo"}, timeout_s=10)[0]["pid"]
    with pytest.raises(WorkerFault, match="Sulking: no") as caught:
        worker.call({"do": "sulk"}, timeout_s=10)
    assert caught.value.type_name == "Sulking"
    with pytest.raises(WorkerFault, match="TypeError"):
        worker.call({"do": "not json"}, timeout_s=10)
    assert worker.call({"do": "echo"}, timeout_s=10)[0]["pid"] == pid


def test_a_segmentation_fault_is_an_answer(worker: IsolatedWorker) -> None:
    first = worker.call({"do": "echo"}, timeout_s=10)[0]["pid"]
    with pytest.raises(WorkerLost, match="SIGSEGV during infer") as caught:
        worker.call({"do": "crash"}, timeout_s=10)
    assert (caught.value.signal, caught.value.status) == (signal.SIGSEGV, None)
    assert caught.value.stage == "infer"
    second = worker.call({"do": "echo"}, timeout_s=10)[0]["pid"]
    assert first != second
    assert worker.restarts == 1


def test_an_exit_is_an_answer(worker: IsolatedWorker) -> None:
    with pytest.raises(WorkerLost) as caught:
        worker.call({"do": "exit"}, timeout_s=10)
    assert (caught.value.signal, caught.value.status) == (None, 3)
    assert caught.value.stage == "decode"


def test_the_stage_of_one_call_is_not_that_of_the_next(worker: IsolatedWorker) -> None:
    worker.call({"do": "echo"}, timeout_s=10)
    with pytest.raises(WorkerLost) as caught:
        worker.call({"do": "exit", "silent": True}, timeout_s=10)
    assert caught.value.stage == ""


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_child(worker: IsolatedWorker) -> None:
    worker.start()
    assert worker.pid is not None
    assert os.getsid(worker.pid) == worker.pid


def test_a_hang_is_killed_in_time(worker: IsolatedWorker) -> None:
    worker.start()
    pid = worker.pid
    assert pid is not None
    start = time.monotonic()
    with pytest.raises(WorkerTimeout) as caught:
        worker.call({"do": "sleep"}, timeout_s=0.3)
    assert 0.3 <= time.monotonic() - start < 3
    assert caught.value.stage == "decode"
    assert wait_until_dead(pid, 2)
    assert worker.call({"do": "echo"}, timeout_s=10)[0]["pid"] != pid


def test_the_time_to_start_is_not_taken_from_the_call() -> None:
    with IsolatedWorker("isolated_targets:slow_to_start") as worker:
        assert worker.call({"do": "echo"}, b"ab", timeout_s=0.9)[1] == b"ba"


def test_stray_output_does_not_reach_the_frames(
    worker: IsolatedWorker, capfd: pytest.CaptureFixture[str]
) -> None:
    assert worker.call({"do": "print"}, timeout_s=10) == ({}, b"")
    assert worker.call({"do": "echo"}, b"ab", timeout_s=10)[1] == b"ba"
    worker.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert "another" in err


def test_quiet_drops_what_the_child_says(capfd: pytest.CaptureFixture[str]) -> None:
    with IsolatedWorker("isolated_targets:many", {"quiet": True}) as worker:
        worker.call({"do": "print"}, timeout_s=10)
    assert capfd.readouterr() == ("", "")


def test_the_child_cannot_eat_frames_by_reading_stdin(worker: IsolatedWorker) -> None:
    assert worker.call({"do": "read"}, timeout_s=10)[0] == {"read": ""}


def test_garbage_instead_of_a_frame_is_a_lost_worker(worker: IsolatedWorker) -> None:
    with pytest.raises(WorkerLost):
        worker.call({"do": "garbage"}, timeout_s=10)
    assert worker.call({"do": "echo"}, b"x", timeout_s=10)[1] == b"x"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_child_leaves_ctrl_c_to_the_parent(worker: IsolatedWorker, number: int) -> None:
    worker.start()
    pid = worker.pid
    assert pid is not None
    os.kill(pid, number)
    time.sleep(0.1)
    assert worker.call({"do": "echo"}, timeout_s=10)[0]["pid"] == pid


def test_killed_between_calls_it_is_replaced_without_a_word(worker: IsolatedWorker) -> None:
    worker.start()
    pid = worker.pid
    worker.kill()
    assert worker.pid is None
    assert worker.call({"do": "echo"}, timeout_s=10)[0]["pid"] != pid


def test_kill_from_another_thread_ends_the_call(worker: IsolatedWorker) -> None:
    worker.start()
    threading.Timer(0.3, worker.kill).start()
    start = time.monotonic()
    with pytest.raises(WorkerLost) as caught:
        worker.call({"do": "sleep"}, timeout_s=30)
    assert time.monotonic() - start < 5
    assert caught.value.signal == signal.SIGKILL


def test_calls_of_several_threads_do_not_mix(worker: IsolatedWorker) -> None:
    wrong = []

    def ask(number: int) -> None:
        payload = str(number).encode()
        header = {"do": "echo", "number": number, "sleep_s": 0.02}
        answer, back = worker.call(header, payload, timeout_s=30)
        if answer["header"]["number"] != number or back != payload[::-1]:
            wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert worker.restarts == 0


def test_a_factory_that_refuses_is_heard() -> None:
    with (
        IsolatedWorker("isolated_targets:refusing") as worker,
        pytest.raises(ModelRefused, match="damaged") as caught,
    ):
        worker.start()
    assert caught.value.where == "model.onnx"


def test_a_factory_that_dies_or_is_missing_is_heard() -> None:
    with (
        IsolatedWorker("isolated_targets:dying") as worker,
        pytest.raises(WorkerLost, match="during start") as caught,
    ):
        worker.call({}, timeout_s=5)
    assert caught.value.status == 4
    with (
        IsolatedWorker("isolated_targets:absent") as worker,
        pytest.raises(WorkerFault, match="absent"),
    ):
        worker.start()


def test_the_memory_limit_holds() -> None:
    config = {"memory_limit_bytes": 1 << 30}
    with IsolatedWorker("isolated_targets:many", config) as worker:
        with pytest.raises(WorkerFault, match="MemoryError"):
            worker.call({"do": "allocate", "size": 2 << 30}, timeout_s=20)
        assert worker.call({"do": "allocate", "size": 1000}, timeout_s=20)[0] == {"length": 1000}


def test_files_of_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    with IsolatedWorker("isolated_targets:many") as worker:
        assert worker.call({"do": "echo"}, timeout_s=10)[1] == b""


def test_the_child_does_not_outlive_the_parent() -> None:
    program = (
        "from opsin.core.isolated import IsolatedWorker\n"
        "worker = IsolatedWorker('isolated_targets:many')\n"
        "worker.start()\n"
        "print(worker.pid, flush=True)\n"
        "worker.call({'do': 'sleep'}, timeout_s=60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    try:
        assert alive(pid)
    finally:
        parent.kill()
        parent.wait()
    assert wait_until_dead(pid, 5), "in the middle of a call, the child lives on"


def test_a_closed_worker_leaves_nothing_behind() -> None:
    before = open_files()
    worker = IsolatedWorker("isolated_targets:many")
    for _ in range(3):
        with pytest.raises(WorkerLost):
            worker.call({"do": "exit"}, timeout_s=10)
    worker.start()
    pid = worker.pid
    worker.close()
    assert pid is not None
    assert not alive(pid)
    assert open_files() == before
    with pytest.raises(ValueError, match="closed"):
        worker.call({}, timeout_s=1)


def test_report_stage_outside_of_a_worker_does_nothing() -> None:
    report_stage("decode")


@pytest.mark.parametrize("cut", [3, 9, 20])
def test_a_cut_frame_is_refused(cut: int) -> None:
    pipe = io.BytesIO()
    write_frame(pipe, {"a": "b"}, b"payload")
    assert len(pipe.getvalue()) > cut
    with pytest.raises(BrokenFrame):
        read_frame(io.BytesIO(pipe.getvalue()[:cut]))


def test_a_header_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(BrokenFrame, match="object"):
        read_frame(io.BytesIO(b"\0\0\0\x02\0\0\0\0[]"))


def test_the_floor_needs_no_numpy() -> None:
    program = (
        "import sys, opsin.core.isolated; "
        "sys.exit(bool({'numpy', 'PIL', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
