"""The doctor: everything around the program that is often wrong, looked at, each with a cure."""
