"""What we keep: one file a projection, its DDL beside it."""
