"""Errors that a source raises; what the network sends never raises, it becomes a dead letter."""

from __future__ import annotations


class SourceError(Exception):
    """A source cannot be read, and waiting will not help: the message names it, and the cause."""
