"""What goes over the wire, and how our own nouns become it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from opsin.serving.handler import ModelInfo
from opsin.serving.limits import ServeLimits
from opsin.serving.line import Outcome
from opsin.serving.refusal import Refusal


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassProbability(_Answer):
    """One class and its probability."""

    label: str
    probability: float = Field(ge=0, le=1)


class Note(_Answer):
    """Something that was done to the picture before it could be used."""

    code: str
    message: str


class Picture(_Answer):
    """The picture as it was understood: upright, first frame."""

    format: str
    width_px: int
    height_px: int


class Timings(_Answer):
    """Milliseconds; `total` is from joining the line to the answer."""

    queue: float
    decode: float
    prepare: float
    infer: float
    total: float


class PredictAnswer(_Answer):
    """A outcome. `probabilities`: most probable first; all classes, or the `top` ones."""

    label: str
    probability: float
    probabilities: list[ClassProbability]
    picture: Picture
    notes: list[Note]
    timings_ms: Timings
    model: str
    bundle_hash: str
    request_id: str


class ErrorBody(_Answer):
    """Why there is no answer. `code` is stable; `field` names the part of the request at fault."""

    code: str
    message: str
    field: str
    request_id: str


class ErrorAnswer(_Answer):
    """The form of every error."""

    error: ErrorBody


class ModelAnswer(_Answer):
    """The model in service, and what it takes."""

    model: str
    task: str
    parameters: int
    created: str
    classes: list[str]
    size_px: tuple[int, int]
    bundle_hash: str
    golden_samples: int
    max_body_bytes: int
    max_pixels: int


class StateAnswer(_Answer):
    """Alive, or ready."""

    status: str


def predict_answer(
    outcome: Outcome, info: ModelInfo, *, request_id: str, top: int | None
) -> PredictAnswer:
    """The answer to POST /predict."""
    ranked = sorted(
        zip(info.classes, outcome.probabilities, strict=True), key=lambda pair: -pair[1]
    )
    rows = [
        ClassProbability(label=label, probability=min(1.0, max(0.0, value)))
        for label, value in ranked
    ]
    return PredictAnswer(
        label=rows[0].label,
        probability=rows[0].probability,
        probabilities=rows[:top],
        picture=Picture(
            format=outcome.format,
            width_px=outcome.width_px,
            height_px=outcome.height_px,
        ),
        notes=[Note(code=code, message=text) for code, text in outcome.notes],
        timings_ms=Timings(**{k: round(v, 3) for k, v in outcome.timings_ms.items()}),
        model=info.name,
        bundle_hash=info.bundle_hash,
        request_id=request_id,
    )


def model_answer(info: ModelInfo, limits: ServeLimits) -> ModelAnswer:
    """The answer to GET /model."""
    return ModelAnswer(
        model=info.name,
        task=info.task,
        parameters=info.parameters,
        created=info.created,
        classes=list(info.classes),
        size_px=info.size_px,
        bundle_hash=info.bundle_hash,
        golden_samples=info.golden_samples,
        max_body_bytes=limits.max_body_bytes,
        max_pixels=limits.max_pixels,
    )


def error_answer(refusal: Refusal, request_id: str) -> ErrorAnswer:
    """The house form of a refusal."""
    return ErrorAnswer(
        error=ErrorBody(
            code=refusal.code,
            message=refusal.message,
            field=refusal.field,
            request_id=request_id,
        )
    )
