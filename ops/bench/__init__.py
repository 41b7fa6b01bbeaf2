"""The benchmark: `python -m ops.bench` from the project's root, or `make bench`."""
