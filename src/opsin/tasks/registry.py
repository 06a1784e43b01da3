"""The kinds of problem by name."""

from __future__ import annotations

from opsin.core.registry import Registry

TASKS = Registry("task", [("classification", "opsin.tasks.classification:Classification")])
