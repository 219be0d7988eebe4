"""Labelled rows -> model folder. Needs the `train` extra."""
