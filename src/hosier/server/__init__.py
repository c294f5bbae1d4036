"""The server: listeners, sessions, commands."""
