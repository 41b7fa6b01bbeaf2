"""The tables as the Bluesky AppView's own indexer (0.0.280) makes them, oddities and all."""
