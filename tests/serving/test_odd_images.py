"""Every odd and every unreadable picture of the shared set, through the real server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

CODES = {
    400: {"empty_file"},
    413: {"too_many_pixels", "body_too_large"},
    415: {"unsupported_format"},
    422: {"image_truncated", "image_undecodable", "too_small"},
}


@pytest.mark.parametrize(("folder", "least"), [("unreadable", 43), ("odd", 244)])
def test_none_of_them_hurts_the_server(
    server: Any, shared_data: Path, folder: str, least: int
) -> None:
    pictures = sorted(p for p in (shared_data / "odd_images" / folder).iterdir() if p.is_file())
    assert len(pictures) >= least
    seen: Counter[int] = Counter()
    for picture in pictures:
        response = server.predict(picture.read_bytes(), picture.name)
        seen[response.status_code] += 1
        if response.status_code == 200:
            rows = response.json()["probabilities"]
            assert sum(row["probability"] for row in rows) == pytest.approx(1, abs=1e-4)
        elif response.status_code != 500:
            assert response.json()["error"]["code"] in CODES[response.status_code], picture.name
        else:  # white all over is what this model answers with NaN, on purpose
            assert response.json()["error"]["code"] == "model_output_invalid", picture.name
    assert server.client.get("/ready").status_code == 200
    if folder == "odd":
        assert seen[200] > 0.8 * len(pictures)
    else:
        assert seen[200] < 0.2 * len(pictures)
