"""The status page in a terminal: `projector top`. Wants textual, which is optional."""
