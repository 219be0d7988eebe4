"""Twitch: chat is read over its IRC, and acted on through its Web API."""
