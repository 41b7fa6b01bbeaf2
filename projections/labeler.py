"""`app.bsky.labeler.service` → `labeler`: one row per labelling account."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from events.event import Event
from projections.lexicon import Typed, check_language, check_nsid, check_text
from projections.richtext import check_labels
from projections.rows import SELF, ddl, framed, framed_columns
from projector.declare import Projection, Row, Table

IDENTIFIER_BYTES_MAX, IDENTIFIER_GRAPHEMES_MAX = 100, 100
NAME_BYTES_MAX, NAME_GRAPHEMES_MAX = 640, 64
DESCRIPTION_BYTES_MAX, DESCRIPTION_GRAPHEMES_MAX = 100_000, 10_000
DEFS = "com.atproto.label.defs#labelValueDefinition"


class Strings(Typed, gc=False, tag=DEFS + "Strings"):
    """What a label is called in one language."""

    lang: str
    name: str
    description: str


class Definition(Typed, gc=False, tag=DEFS):
    """A label of the labeler's own."""

    identifier: str
    severity: str
    blurs: str
    locales: list[Strings]
    defaultSetting: str | UnsetType = UNSET
    adultOnly: bool | UnsetType = UNSET


class Policies(Typed, gc=False, tag="app.bsky.labeler.defs#labelerPolicies"):
    """Which labels there are."""

    labelValues: list[str]
    labelValueDefinitions: list[Definition] | UnsetType = UNSET


class Labeler(msgspec.Struct, gc=False):
    """A service that labels."""

    type: Literal["app.bsky.labeler.service"] = msgspec.field(name="$type")
    policies: Policies
    createdAt: str
    labels: Raw | UnsetType = UNSET
    reasonTypes: list[str] | UnsetType = UNSET
    subjectTypes: list[str] | UnsetType = UNSET
    subjectCollections: list[str] | UnsetType = UNSET


def labeler_row(event: Event, record: Labeler) -> Row | None:
    """The row of the table's columns; an account has one labeler."""
    _check_definitions(record.policies.labelValueDefinitions or ())
    if record.labels is not UNSET:
        check_labels(record.labels, "$.labels")
    for at, nsid in enumerate(record.subjectCollections or ()):
        check_nsid(nsid, f"$.subjectCollections[{at}]")
    row = framed(event, record.createdAt)
    return row if event.rkey == SELF else None


def _check_definitions(definitions: list[Definition] | tuple[()]) -> None:
    for at, definition in enumerate(definitions):
        path = f"$.policies.labelValueDefinitions[{at}]"
        check_text(
            definition.identifier,
            f"{path}.identifier",
            IDENTIFIER_BYTES_MAX,
            IDENTIFIER_GRAPHEMES_MAX,
        )
        for of, strings in enumerate(definition.locales):
            here = f"{path}.locales[{of}]"
            check_language(strings.lang, f"{here}.lang")
            check_text(strings.name, f"{here}.name", NAME_BYTES_MAX, NAME_GRAPHEMES_MAX)
            check_text(
                strings.description,
                f"{here}.description",
                DESCRIPTION_BYTES_MAX,
                DESCRIPTION_GRAPHEMES_MAX,
            )


labelers = Projection(
    name="labeler",
    version=1,
    collection="app.bsky.labeler.service",
    record=Labeler,
    row=labeler_row,
    table=Table("labeler", framed_columns(), account=None),
    ddl=ddl("labeler.sql"),
)
