"""The page in a real browser, driven through the DevTools protocol."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opsin.testing.bundles import tiny_bundle

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT_S = 20
CLASSES = ("red <b>bold</b>", "green", "blue", "crimson", "lime", "navy", "maroon")
WIDE, PHONE = (1280, 900), (360, 740)
PICTURES = os.environ.get("OPSIN_SCREENSHOTS", "")
"""Set to a folder to look at what the tests saw."""


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        switches = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
            "--disable-background-networking --disable-component-update --disable-sync "
            "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream "
            "--remote-debugging-port=0 --no-proxy-server"
        )
        self._stack = ExitStack()
        self._process = subprocess.Popen(
            [CHROMIUM, *switches.split(), f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._attach(profile / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise

    def _attach(self, port_file: Path) -> None:
        from websockets.sync.client import connect

        self.until(lambda: port_file.is_file() and port_file.read_text().count("\n"))
        port, path = port_file.read_text().split("\n")[:2]
        connection = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None)
        self._socket = self._stack.enter_context(connection)
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=WAIT_S))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def js(self, expression: str) -> Any:
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, what: Any) -> None:
        end = time.perf_counter() + WAIT_S
        while not (self.js(what) if isinstance(what, str) else what()):
            assert time.perf_counter() < end, what
            time.sleep(0.03)

    def open(self, url: str, size: tuple[int, int] = WIDE, *, dark: bool = False) -> None:
        self.events.clear()
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && !!document.getElementById('state')")
        self.until("document.getElementById('state').textContent === 'ready'")
        self.until("document.getElementById('model').textContent !== ''")

    def choose(self, *files: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def answered(self, times: int = 1) -> None:
        self.until(
            f"document.querySelectorAll('#history li').length >= {times} "
            "&& document.getElementById('result').getAttribute('aria-busy') === 'false'"
        )

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def seen(self, selector: str) -> bool:
        return bool(
            self.js(f"document.querySelector({json.dumps(selector)}).offsetParent !== null")
        )

    def press(self, key: str, code: int) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def picture(self, name: str) -> None:
        if PICTURES:
            time.sleep(0.7)  # let the bars grow
            data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
            Path(PICTURES, f"{name}.png").write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """What the console would show in red, but for answers that are meant to be errors."""
        self.js("0")
        entries = [e["params"]["entry"] for e in self.events if e.get("method") == "Log.entryAdded"]
        thrown = [e for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        return [str(t) for t in thrown] + [
            entry["text"]
            for entry in entries
            if entry["level"] == "error" and entry["source"] != "network"
        ]

    def requested(self) -> set[str]:
        self.js("0")
        return {
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        }

    def close(self) -> None:
        self._stack.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    pytest.importorskip("websockets", reason="needs the package websockets (extra dev)")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(module_server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a server whose class names try to be HTML."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("page") / "bundle", CLASSES)
    return str(module_server(bundle).url)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[0:480, 0:640] / 480
    sky = np.stack([60 + 60 * y, 150 - 40 * x, 225 - 90 * y], -1)
    hill = y > 0.62 + 0.1 * np.sin(5 * x)
    sky[hill] = np.stack([30 + 0 * y, 120 + 60 * y, 50 + 20 * x], -1)[hill]
    sun = (x - 0.9) ** 2 + (y - 0.28) ** 2 < 0.012
    sky[sun] = (255, 226, 150)
    named = {
        "photo": folder / "evening <img src=x onerror=alert(1)>.jpg",
        "turned": folder / "turned.jpg",
        "cut": folder / "cut.jpg",
        "green": folder / "green.png",
    }
    picture = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    named["photo"].write_bytes(buffer.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(named["turned"], "JPEG", exif=exif)
    named["cut"].write_bytes(buffer.getvalue()[:9000])
    Image.new("RGB", (32, 32), (20, 220, 40)).save(named["green"])
    return named


def test_a_picture_is_chosen_and_its_answer_is_seen(
    browser: Browser, page: str, files: dict[str, Path]
) -> None:
    browser.open(page)
    assert browser.text("#model") == f"mean_colour · {len(CLASSES)} classes"
    assert "golden samples" in browser.text("#about")
    browser.picture("wide-empty")
    browser.choose(files["photo"])
    browser.answered()
    assert browser.text("#label") in CLASSES
    assert browser.js("document.querySelectorAll('#bars li').length") == 5
    shares = browser.js(
        "[...document.querySelectorAll('#bars .fill')].map(e => parseFloat(e.style.width))"
    )
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0
    assert "640 × 480 · JPEG" in browser.text("#name")
    assert "altogether" in browser.text("#timings")
    browser.picture("wide-answer")
    browser.js("document.getElementById('all').click()")
    assert browser.js("document.querySelectorAll('#bars li').length") == len(CLASSES)
    assert browser.js("document.getElementById('all').getAttribute('aria-expanded')") == "true"
    assert browser.complaints() == []


def test_names_are_text_and_never_html(browser: Browser, page: str, files: dict[str, Path]) -> None:
    browser.open(page)
    browser.choose(files["photo"])
    browser.answered()
    browser.js("document.getElementById('all').click()")
    assert "<b>bold</b>" in browser.text("#bars")
    assert "<img src=x" in browser.text("#name")
    assert browser.js("document.querySelectorAll('#bars b, #name img').length") == 0


def test_a_broken_file_is_explained_in_plain_words(
    browser: Browser, page: str, files: dict[str, Path]
) -> None:
    browser.open(page)
    browser.choose(files["cut"])
    browser.answered()
    assert browser.text("#problem-title") == "This picture is cut off"
    assert "bytes present" in browser.text("#problem-detail")
    assert not browser.seen("#answer")
    assert not browser.seen("#again")
    browser.picture("wide-problem")
    browser.choose(files["green"])
    browser.answered(2)
    assert browser.text("#label") in ("green", "lime")
    assert not browser.seen("#problem")


def test_what_was_done_to_the_picture_is_said(
    browser: Browser, page: str, files: dict[str, Path]
) -> None:
    browser.open(page)
    browser.choose(files["turned"])
    browser.answered()
    assert "turned upright" in browser.text("#notes")
    assert "480 × 640" in browser.text("#name")


def test_the_history_brings_an_earlier_picture_back(
    browser: Browser, page: str, files: dict[str, Path]
) -> None:
    browser.open(page)
    browser.choose(files["green"], files["photo"], files["cut"])
    browser.answered(3)
    assert browser.seen("#problem")
    browser.picture("wide-history")
    browser.js("document.querySelectorAll('#history button')[2].click()")
    assert browser.text("#label") in ("green", "lime")
    assert "green.png" in browser.text("#name")
    current = "[...document.querySelectorAll('#history button')].map(b => b.ariaCurrent)"
    assert browser.js(current) == ["false", "false", "true"]


def test_everything_is_reached_by_keyboard(
    browser: Browser, page: str, files: dict[str, Path]
) -> None:
    browser.open(page)
    browser.js("document.getElementById('file').onclick = e => { e.preventDefault(); clicks++; };"
               "globalThis.clicks = 0; undefined")  # fmt: skip
    reached = []
    for _ in range(4):
        browser.press("Tab", 9)
        reached.append(browser.js("document.activeElement.id || document.activeElement.className"))
    assert reached == ["brand", "drop", "choose", "open-camera"]
    browser.js("document.getElementById('drop').focus()")
    browser.press("Enter", 13)
    browser.press(" ", 32)
    assert browser.js("clicks") == 2
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.js(outline) == "solid"


def test_dropping_and_pasting_a_picture(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.js(
        """(async () => {
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 40;
        const blob = await new Promise(done => canvas.toBlob(done));
        const data = new DataTransfer();
        data.items.add(new File([blob], 'dropped.png'));
        globalThis.data = data;
        document.getElementById('drop').dispatchEvent(
            new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data}));
        })()"""
    )
    browser.answered(1)
    assert "dropped.png" in browser.text("#name")
    browser.js("document.dispatchEvent(new ClipboardEvent('paste',"
               "{bubbles: true, clipboardData: data}))")  # fmt: skip
    browser.answered(2)


def test_the_camera_is_used_and_closed(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.js("document.getElementById('open-camera').click()")
    browser.until("!document.getElementById('viewfinder').hidden")
    browser.until("document.getElementById('video').videoWidth > 0")
    browser.picture("wide-camera")
    browser.js("globalThis.track = document.getElementById('video').srcObject.getTracks()[0];"
               "document.getElementById('shoot').click()")  # fmt: skip
    browser.answered()
    assert "camera" in browser.text("#name")
    assert browser.js("track.readyState") == "ended"
    assert browser.seen("#drop")


def test_a_server_that_is_gone_is_explained(
    browser: Browser, module_server: Any, tmp_path: Path, files: dict[str, Path]
) -> None:
    server = module_server(tiny_bundle(tmp_path / "bundle"))
    browser.open(server.url)
    server.stop()
    browser.choose(files["green"])
    browser.answered()
    assert browser.text("#problem-title") == "The server does not answer"
    assert browser.seen("#again")
    browser.until("document.getElementById('state').textContent === 'no answer'")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_hangs_over_the_edge(
    browser: Browser, page: str, files: dict[str, Path], size: tuple[int, int], dark: bool
) -> None:
    browser.open(page, size, dark=dark)
    browser.choose(files["green"], files["photo"])
    browser.answered(2)
    name = f"{'phone' if size == PHONE else 'wide'}-{'dark' if dark else 'light'}"
    browser.picture(name)
    assert browser.js("document.documentElement.scrollWidth") <= size[0]
    ground = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark


def test_nothing_is_asked_of_another_address(
    browser: Browser, page: str, files: dict[str, Path]
) -> None:
    browser.open(page)
    browser.choose(files["green"])
    browser.answered()
    foreign = {u for u in browser.requested() if not u.startswith((page, "blob:", "data:"))}
    assert foreign == set()


def test_the_api_page(browser: Browser, page: str) -> None:
    browser.events.clear()
    browser.call("Page.navigate", url=f"{page}docs")
    browser.until("document.readyState === 'complete' && !!document.querySelector('.operation')")
    assert "/predict" in browser.text("main")
    browser.picture("docs")
    assert {u for u in browser.requested() if not u.startswith(page)} == set()
    assert browser.complaints() == []
