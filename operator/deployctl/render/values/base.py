"""What the chart's values are made of: the closed section, and the texts that Kubernetes takes.

Every pattern means the same to pydantic and to Helm's JSON schema, which both refuse by it.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """One mapping of values.yaml: camelCase keys, no others."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,  # the whole is built once, where it is used, and no section by itself
    )


def _text(pattern: str, longest: int) -> Any:
    return StringConstraints(pattern=pattern, max_length=longest, strict=True)


_LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$"
_LABEL_KEY = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"

# A DNS label that starts with a letter, as a Service's name must; 40 leave room for suffixes.
Name = Annotated[str, _text(r"^([a-z]([a-z0-9-]*[a-z0-9])?)?$", 40)]
ObjectName = Annotated[str, _text(r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", 253)]
Namespace = Annotated[str, _text(r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$", 63)]
HostName = Annotated[str, _text(r"^((\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", 253)]
SecretKey = Annotated[str, _text(r"^[A-Za-z0-9._-]+$", 253)]
EnvName = Annotated[str, _text(r"^[A-Za-z_][A-Za-z0-9_]*$", 253)]
Quantity = Annotated[str, _text(r"^([1-9][0-9]*(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?)?$", 20)]
LabelKey = Annotated[str, _text(_LABEL_KEY, 316)]
LabelValue = Annotated[str, _text(_LABEL_VALUE, 63)]
Labels = dict[LabelKey, LabelValue]
# Text of several lines, without control characters: among them is one that YAML reads as a line's
# end though it is none (U+0085).
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
Text = Annotated[str, _text(rf"^[^{_CONTROL}]*$", 16384)]
Annotations = dict[LabelKey, Text]
Image = Annotated[
    str,
    _text(
        r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$",
        512,
    ),
]
# One printable line: no control characters, so that no line of a manifest can be added.
Line = Annotated[str, _text(rf"^[^\t\n{_CONTROL}]*$", 4096)]
Url = Annotated[str, _text(r"^(https?://[A-Za-z0-9._:/-]+)?$", 2048)]
Path = Annotated[str, _text(rf"^(/[^\t\n{_CONTROL}]*)?$", 4096)]
