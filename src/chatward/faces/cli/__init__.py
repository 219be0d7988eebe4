"""The `chatward` command: one module a command, errors turned into exit codes in `main`."""
