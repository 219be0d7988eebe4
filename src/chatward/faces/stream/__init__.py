"""Workers on Redis Streams: messages in, answers out, at least once.

addresses ─▶ server ─▶ group (scripts) ─▶ worker ─▶ answers, dead letters
                                            │
                                     metrics (/metrics, /healthz, /livez)
"""
