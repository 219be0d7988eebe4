"""Predictions in, decisions out, and a record of them."""
