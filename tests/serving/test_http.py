"""What the API answers, to good requests and to mistaken ones. FAULTS rows 1 to 9 and 40."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from opsin.bundle.load import load_bundle
from opsin.bundle.predictor import Predictor, as_chw

CLASSES = ["red", "green", "blue"]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error, after checking the form that every error has."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "field", "request_id"}
    assert body["error"]["message"]
    text = response.text
    assert "Traceback" not in text
    assert not re.search(r"/(tmp|work|home|usr|opt|root)/", text), "a path of the server"
    error: dict[str, Any] = body["error"]
    return error


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def test_a_form_and_raw_bytes_give_the_same_answer(server: Any, green: bytes) -> None:
    form = server.predict(green)
    raw = server.client.post("/predict", content=green, headers={"content-type": "image/png"})
    assert form.status_code == raw.status_code == 200
    a, b = form.json(), raw.json()
    assert a["label"] == "green"
    assert a["probabilities"] == b["probabilities"]
    assert a["probabilities"][0]["label"] == a["label"]
    assert sum(row["probability"] for row in a["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert a["picture"] == {"format": "PNG", "width_px": 64, "height_px": 64}
    assert set(a["timings_ms"]) == {"queue", "decode", "prepare", "infer", "total"}
    assert a["timings_ms"]["total"] >= a["timings_ms"]["infer"] > 0
    assert a["request_id"] != b["request_id"]


def test_the_answer_is_what_the_bundle_says(server: Any, trapped: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (90, 120, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "PNG")
    predictor = Predictor(load_bundle(trapped))
    (expected,) = predictor.probabilities(as_chw([predictor.bundle.spec.prepare(noise)]))
    answer = server.predict(data).json()
    got = {row["label"]: row["probability"] for row in answer["probabilities"]}
    for label, probability in zip(CLASSES, expected, strict=True):
        assert got[label] == pytest.approx(probability, abs=1e-6)
    manifest = (trapped / "manifest.json").read_bytes()
    assert answer["bundle_hash"] == hashlib.sha256(manifest).hexdigest()


def test_top_limits_the_classes(server: Any, green: bytes) -> None:
    answer = server.client.post("/predict?top=2", content=green).json()
    assert answer["probabilities"][0]["label"] == "green"
    assert len(answer["probabilities"]) == 2


def test_a_form_with_other_fields_and_any_field_name(server: Any, green: bytes) -> None:
    response = server.client.post(
        "/predict", data={"comment": "hello"}, files={"whatever": ("a b.png", green)}
    )
    assert response.json()["label"] == "green"


def test_a_request_id_is_taken_or_made(server: Any, green: bytes) -> None:
    taken = server.client.get("/live", headers={"x-request-id": "abc-1"})
    assert taken.headers["x-request-id"] == "abc-1"
    bad = server.client.get("/live", headers={"x-request-id": "<script>"})
    assert re.fullmatch("[0-9a-f]{16}", bad.headers["x-request-id"])
    error = server.client.post("/predict", content=b"?", headers={"x-request-id": "abc-2"})
    assert error_of(error)["request_id"] == "abc-2"


# --- rows 1 to 9 ---


def bomb() -> bytes:
    """20,000 x 20,000 pixels of one colour in some 50 kB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + checksum

    side = (20_000).to_bytes(4, "big")
    pixels = zlib.compress(bytes(20_000 * 2501), 9)
    header = chunk(b"IHDR", side + side + bytes([1, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


JPEG = encoded(Image.effect_noise((200, 150), 60).convert("RGB"), "JPEG")

REFUSED = {
    "1 empty": (b"", 400, "empty_file"),
    "2 truncated JPEG": (JPEG[: len(JPEG) // 2], 422, "image_truncated"),
    "4 HTML": (b"<!doctype html><p>hello</p>" * 9, 415, "unsupported_format"),
    "4 SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>' * 3, 415, "unsupported_format"),
    "4 zip": (b"PK\x03\x04" + bytes(100), 415, "unsupported_format"),
    "4 EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"0 0 moveto\n" * 20, 415, "unsupported_format"),
    "5 bomb": (bomb(), 413, "too_many_pixels"),
    "6 one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), 422, "too_small"),
    "6 three pixels": (encoded(Image.new("RGB", (3, 1)), "PNG"), 422, "too_small"),
    "40 JSON": (b'{"image": 5}', 415, "unsupported_format"),
}


@pytest.mark.parametrize("case", list(REFUSED))
@pytest.mark.parametrize("raw", [False, True], ids=["form", "raw"])
def test_what_is_not_a_usable_picture(server: Any, case: str, raw: bool) -> None:
    data, status, code = REFUSED[case]
    if raw:
        response = server.client.post("/predict", content=data)
    else:
        response = server.predict(data, "picture.jpg")
    assert response.status_code == status
    error = error_of(response)
    assert error["code"] == code
    assert error["field"] == "body.file"


def test_a_bomb_costs_the_worker_no_memory(server: Any) -> None:
    data = bomb()
    assert len(data) < 60_000

    def peak_kb() -> int:
        status = Path(f"/proc/{server.worker_pid()}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)", status)
        assert found
        return int(found[1])

    before = peak_kb()
    assert server.predict(data).status_code == 413
    assert peak_kb() - before < 50_000


ACCEPTED: dict[str, tuple[bytes, str, str]] = {}


def _accepted() -> None:
    picture = Image.new("RGB", (40, 24), (10, 220, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    ACCEPTED["3 PNG named .jpg"] = (encoded(picture, "PNG"), "a.jpg", "extension_mismatch")
    ACCEPTED["7 EXIF"] = (encoded(picture, "JPEG", exif=exif), "a.jpg", "rotated")
    ACCEPTED["8 CMYK"] = (encoded(picture.convert("CMYK"), "JPEG"), "a.jpg", "mode_converted")
    alpha = picture.copy()
    alpha.putalpha(200)
    ACCEPTED["8 RGBA"] = (encoded(alpha, "PNG"), "a.png", "mode_converted")
    deep = Image.fromarray(np.full((24, 40), 30_000, np.uint16))
    ACCEPTED["8 16 bit"] = (encoded(deep, "PNG"), "a.png", "mode_converted")
    ACCEPTED["8 LA"] = (encoded(alpha.convert("LA"), "PNG"), "a.png", "mode_converted")
    ACCEPTED["8 1 bit"] = (encoded(picture.convert("1"), "PNG"), "a.png", "")
    frames = [Image.new("RGB", (40, 24), (10, 220, i)) for i in range(3)]
    animated = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    ACCEPTED["9 GIF"] = (animated, "a.gif", "first_frame")
    pages = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    ACCEPTED["9 TIFF"] = (pages, "a.tiff", "first_frame")


_accepted()


@pytest.mark.parametrize("case", list(ACCEPTED))
def test_odd_but_usable_pictures(server: Any, case: str) -> None:
    data, name, note = ACCEPTED[case]
    response = server.predict(data, name)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert [n["code"] for n in answer["notes"]] == ([note] if note else [])
    turned = note == "rotated"
    assert answer["picture"]["width_px"] == (24 if turned else 40)
    if note == "first_frame":
        assert answer["notes"][0]["message"] == "first_frame_of 3"


# --- row 40 ---


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "a b", "[::2]"])
def test_a_foreign_host_is_not_answered(server: Any, host: str) -> None:
    for path in ("/", "/live", "/predict"):
        response = server.client.get(path, headers={"host": host})
        assert response.status_code == 421
        assert error_of(response)["code"] == "foreign_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8000",
                                  "pictures.example", "pictures.example:80"])  # fmt: skip
def test_our_own_hosts_are(server: Any, host: str) -> None:
    assert server.client.get("/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", ""])
def test_a_foreign_origin_is_not_answered(server: Any, green: bytes, origin: str) -> None:
    response = server.client.post("/predict", content=green, headers={"origin": origin})
    assert response.status_code == 403
    assert error_of(response)["code"] == "foreign_origin"


def test_our_own_origin_is(server: Any, green: bytes) -> None:
    origin = server.url.rstrip("/")
    response = server.client.post("/predict", content=green, headers={"origin": origin})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/predict/", "/static/../../etc/passwd", "/%2e%2e/x",
                                  "/page/app.js", "/admin?x=1"])  # fmt: skip
def test_an_unknown_path(server: Any, path: str) -> None:
    response = server.client.get(path)
    assert response.status_code == 404
    assert error_of(response)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", {"POST"}),
        ("DELETE", "/predict", {"POST"}),
        ("POST", "/model", {"GET"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("TRACE", "/metrics", {"GET"}),
    ],
)
def test_a_wrong_method(server: Any, method: str, path: str, allowed: set[str]) -> None:
    response = server.client.request(method, path)
    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"
    assert {word.strip() for word in response.headers["allow"].split(",")} == allowed


@pytest.mark.parametrize("top", ["0", "-1", "x", "1.5", "", "9" * 30])
def test_a_wrong_parameter_is_named(server: Any, green: bytes, top: str) -> None:
    response = server.client.post("/predict", params={"top": top}, content=green)
    assert response.status_code == 422
    assert error_of(response)["field"] == "query.top"


def test_a_form_without_a_file(server: Any) -> None:
    response = server.client.post("/predict", files={"other": (None, "text")})
    assert response.status_code == 422
    assert error_of(response)["code"] == "missing_file"
    assert error_of(response)["field"] == "body.file"


def test_a_form_with_two_files(server: Any, green: bytes) -> None:
    files = [("a", ("a.png", green)), ("b", ("b.png", green))]
    response = server.client.post("/predict", files=files)
    assert response.status_code == 422
    assert error_of(response)["code"] == "too_many_files"


def test_a_compressed_body(server: Any, green: bytes) -> None:
    response = server.client.post("/predict", content=green, headers={"content-encoding": "gzip"})
    assert response.status_code == 415


# --- the rest of the surface ---


def test_live_and_ready(server: Any) -> None:
    for path, status in (("/live", "live"), ("/ready", "ready")):
        assert server.client.get(path).json() == {"status": status}
        assert server.client.head(path).status_code == 200


def test_the_model(server: Any, trapped: Path) -> None:
    answer = server.client.get("/model").json()
    assert answer["classes"] == CLASSES
    assert answer["bundle_hash"] == load_bundle(trapped).hash
    assert answer["golden_samples"] == len(load_bundle(trapped).golden) > 0


def test_metrics_count_answers_by_code(server: Any, green: bytes) -> None:
    ok = 'opsin_requests_total{code="200",path="/predict"}'
    bad = 'opsin_requests_total{code="415",path="/predict"}'
    other = 'opsin_requests_total{code="404",path="other"}'
    before = [server.metric(name) for name in (ok, bad, other)]
    server.predict(green)
    server.predict(b"no picture at all")
    server.client.get("/made-up-path")
    assert [server.metric(name) for name in (ok, bad, other)] == [n + 1 for n in before]
    assert "made-up-path" not in server.client.get("/metrics").text
    assert server.metric('opsin_request_seconds_count{path="/predict"}') >= 2
    assert server.metric('opsin_stage_seconds_count{stage="infer"}') >= 1
    assert server.metric("opsin_queue_depth") == 0
    assert server.metric("opsin_ready") == 1


@pytest.mark.parametrize("path", ["/", "/docs", "/style.css", "/app.js", "/icon.svg", "/live"])
def test_security_headers(server: Any, path: str) -> None:
    headers = server.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/docs", "/style.css", "/app.js", "/icon.svg"])
def test_no_outside_address_and_no_inline_script(server: Any, path: str) -> None:
    text = server.client.get(path).text
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|innerHTML", text)


def test_the_page_is_not_sent_twice(server: Any) -> None:
    first = server.client.get("/app.js")
    again = server.client.get("/app.js", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


def test_docs_and_schema_name_every_path(server: Any) -> None:
    schema = server.client.get("/openapi.json").json()
    docs = server.client.get("/docs").text
    assert set(schema["paths"]) == {"/predict", "/model", "/live", "/ready", "/metrics"}
    for path in schema["paths"]:
        assert f"<code>{path}</code>" in docs
    assert {"400", "408", "413", "415", "422", "429", "500", "503"} <= set(
        schema["paths"]["/predict"]["post"]["responses"]
    )
