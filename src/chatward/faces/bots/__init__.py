"""Bots: chat where people talk, moderated by the same policies and records as the service's."""
