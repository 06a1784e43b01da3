"""Export targets by name: functions `(model, task, spec) -> bytes` of the graph file."""

from __future__ import annotations

from opsin.core.registry import Registry

TARGETS = Registry("export format", [("onnx", "opsin.exporting.onnx_graph:onnx_graph")])
