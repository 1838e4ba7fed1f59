"""``publish:`` of ``metricgate.yaml``: how the model of a tagged commit becomes an image."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from metricgate.config_fields import Duration, Section, Text, not_empty


class Tolerance(Section):
    """How close an image's answers have to be to those of the trained model: |a - b| ≤ atol + rtol · |b|."""

    rtol: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 1e-4
    """Relative to the right answer."""
    atol: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 1e-5
    """In the answer's own unit."""


class Publish(Section):
    """How the model of a tagged commit becomes an image."""

    image: Annotated[Text, pydantic.Field(pattern=r"^[^\s@]+$")] | None = None
    """The image's name without a tag, such as ghcr.io/owner/model; by default that of the repository, on ghcr.io."""
    rules: (
        Annotated[tuple[Text, ...], pydantic.AfterValidator(not_empty), pydantic.Field(json_schema_extra={"minItems": 1})]
        | None
    ) = None
    """Its tags, as in docker/metadata-action; by default `{{version}}`, `{{major}}.{{minor}}` and `{{major}}`."""
    flavor: tuple[Text, ...] = ()
    """What holds for all tags, as there: latest=auto, prefix=…, suffix=…."""
    labels: dict[Text, str] = pydantic.Field(default={})
    """More labels of the image."""
    seed: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Which of the commit's runs is published; by default the one with the lowest seed."""
    branch: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]{0,99}$")] | None = None
    """The branch with whose policy, test set and baseline a verdict has to agree; by default that of the repository."""
    dockerfile: Text | None = None
    """A Dockerfile of your own, relative to the root; by default the one that metricgate brings."""
    format: Literal["auto", "keras", "onnx"] = "auto"
    """What the model is; `auto` looks."""
    base: Text | None = None
    """The image that the default Dockerfile starts from; by default the one that it names."""
    tolerance: Tolerance = Tolerance()
    """How close the image's answers to the golden requests have to be."""
    ready_timeout: Annotated[Duration, pydantic.Field(json_schema_extra={"default": "2m"})] = 120.0
    """How long the image may take until it answers."""
    platforms: tuple[Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$")], ...] = ()
    """Such as linux/amd64 and linux/arm64; by default that of the machine that builds."""
    allow_code: bool = False
    """Publish a model that holds code (Lambda layers, pickled objects), which the evidence then says."""
