"""Whom rows notify, naively: by the rules of the AppView's dataplane, row by row, in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]


def owner(uri: str) -> str:
    return uri.split("/")[2]


def told(row: Row, reason: str, to: str, subject: str | None) -> Row:
    return {"did": to, "recordUri": row["uri"], "recordCid": row["cid"], "author": row["creator"],
            "reason": reason, "reasonSubject": subject,
            "sortAt": min(row["createdAt"], row["indexedAt"])}  # fmt: skip


def of_pointers(rows: Iterable[Row], reason: str) -> Iterable[Row]:
    """Of likes or reposts."""
    for row in rows:
        if owner(row["subject"]) != row["creator"]:
            yield told(row, reason, owner(row["subject"]), row["subject"])
            if row["via"] and owner(row["via"]) != row["creator"]:
                yield told(row, f"{reason}-via-repost", owner(row["via"]), row["via"])


def notified(tables: Mapping[str, list[Row]]) -> list[Row]:
    """Of all likes, reposts and follows, in an order."""
    follows = (told(row, "follow", row["subjectDid"], None) for row in tables["follow"])
    likes, reposts = (of_pointers(tables[name], name) for name in ("like", "repost"))
    return in_order([*likes, *reposts, *follows])


def in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["recordUri"], row["reason"], row["did"]))
