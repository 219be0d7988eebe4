"""Discord, by discord.py: messages and edits of servers and their threads, deleted, timed out and banned by the bot's own role."""

import warnings

with warnings.catch_warnings():
    # The library imports a module for sound, which chatward doesn't use and which Python 3.11 and 3.12 call deprecated.
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    import discord  # noqa: F401
