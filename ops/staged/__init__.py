"""Failures made on purpose, on scratch servers, and what the status page says of each."""
