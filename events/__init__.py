"""What happened: the event, its wire forms, the sources it comes from, and the event log."""
