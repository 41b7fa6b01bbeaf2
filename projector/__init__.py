"""The engine: fold, apply, checkpoints, aggregates, daemon, settings, telemetry and the CLI."""

__version__ = "0.1.0"
