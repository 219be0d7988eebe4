"""`chatward serve`: predictions, decisions and their record over HTTP and WebSocket. Nothing here decides anything: `chatward.detection` and `chatward.moderation` do."""
