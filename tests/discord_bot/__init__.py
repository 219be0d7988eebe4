"""The Discord bot against a Discord on loopback."""

# Before any module here imports the library itself, which imports one that Python calls deprecated.
import chatward.faces.bots.discord  # noqa: F401
