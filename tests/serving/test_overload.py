"""Ten times more than can be done. FAULTS row 36."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

QUEUE = 4
CLIENTS = 10 * QUEUE
FACTOR = 10
"""The limits of the fault list are for a quiet machine; here they may be missed by this factor."""


def test_overload_is_refused_at_once_and_then_forgotten(
    start_server: Any, trapped: Path, green: bytes, black: bytes
) -> None:
    server = start_server(trapped, queue=QUEUE)
    assert server.predict(green).status_code == 200
    live: list[tuple[int, float]] = []

    def ask(number: int) -> tuple[httpx.Response, float]:
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
            client.get("/live")  # the connection is made before the clock starts
            start = time.perf_counter()
            response = client.post("/predict", content=black)
            return response, time.perf_counter() - start

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(ask, number) for number in range(CLIENTS)]
        while not all(future.done() for future in asked):
            start = time.perf_counter()
            status = server.client.get("/live").status_code
            live.append((status, time.perf_counter() - start))
            time.sleep(0.02)
        answers = [future.result() for future in asked]

    accepted = [response for response, _ in answers if response.status_code == 200]
    refused = [(response, s) for response, s in answers if response.status_code == 429]
    assert len(accepted) + len(refused) == CLIENTS
    # the queue, and what the worker had in hand meanwhile
    assert QUEUE <= len(accepted) <= QUEUE + 4
    for response, _ in refused:
        assert response.json()["error"]["code"] == "busy"
        assert 1 <= int(response.headers["retry-after"]) <= 60
    waits = sorted(seconds for _, seconds in refused)
    assert waits[len(waits) // 2] < 0.05 * FACTOR
    assert {status for status, _ in live} == {200}

    start = time.perf_counter()
    response = server.predict(green)
    assert response.status_code == 200
    assert time.perf_counter() - start < 2
    assert server.metric('opsin_requests_total{code="429",path="/predict"}') == len(refused)


def test_nobody_is_let_in_who_would_wait_too_long(
    start_server: Any, trapped: Path, black: bytes
) -> None:
    server = start_server(trapped, queue=30, max_wait_s=0.2)
    assert server.predict(black).status_code == 200  # now it knows how long one takes
    with ThreadPoolExecutor(8) as pool:
        codes = [r.status_code for r in pool.map(server.predict, [black] * 8)]
    assert codes.count(200) <= 4
    assert codes.count(429) >= 4
