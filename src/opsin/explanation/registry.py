"""The explanations by name; listing them loads nothing."""

from __future__ import annotations

from opsin.core.registry import Registry

EXPLANATIONS = Registry("explanation", [("gradcam", "opsin.explanation.gradcam:grad_cam")])
