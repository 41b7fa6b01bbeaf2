"""A Redis stream: its place, its group, reading it in order, and filling it."""
