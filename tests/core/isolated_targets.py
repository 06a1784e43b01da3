"""Factories that the child process of test_isolated loads; not a test."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from typing import Any

from opsin.core.errors import ModelRefused
from opsin.core.isolated import Function, report_stage

Reply = tuple[dict[str, Any], bytes]


class Sulking(Exception):
    pass


def many(config: dict[str, Any]) -> Function:
    """Does what the header's `do` says."""

    def function(header: dict[str, Any], payload: bytes) -> Reply:
        if not header.get("silent"):
            report_stage("decode")
        match header["do"]:
            case "echo":
                time.sleep(header.get("sleep_s", 0))
                return {"pid": os.getpid(), "header": header, "config": config}, payload[::-1]
            case "crash":
                report_stage("infer")
                ctypes.string_at(0)
            case "exit":
                os._exit(3)
            case "sleep":
                time.sleep(60)
            case "refuse":
                from opsin.data.decode import Undecodable

                raise Undecodable("0 bytes", code="empty_file", where="a.png", fix="copy it")
            case "sulk":
                raise Sulking("no")
            case "print":
                print("a stray line")
                os.write(1, b"\0" * 64)
                subprocess.run(["echo", "another"], check=True)
            case "read":
                return {"read": input() if header.get("x") else os.read(0, 10).decode()}, b""
            case "allocate":
                return {"length": len(bytearray(header["size"]))}, b""
            case "garbage":
                import opsin.core.isolated as isolated

                isolated._out.write(b"\xff" * 64)  # type: ignore[union-attr]
                isolated._out.flush()  # type: ignore[union-attr]
                time.sleep(60)
            case "not json":
                return {"x": object()}, b""
        return {}, b""

    return function


def refusing(config: dict[str, Any]) -> Function:
    raise ModelRefused("damaged", code="damaged", where="model.onnx")


def dying(config: dict[str, Any]) -> Function:
    os._exit(4)


def slow_to_start(config: dict[str, Any]) -> Function:
    time.sleep(1.2)
    return many(config)
