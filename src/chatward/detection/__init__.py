"""Model folder -> predictions, without torch."""
