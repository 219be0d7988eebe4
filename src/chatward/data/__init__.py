"""Rows in: reading labelled chat and splitting it without leaks."""
