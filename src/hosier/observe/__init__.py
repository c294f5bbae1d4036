"""Seeing what happens: what is known of a session, and the lines that are written about it."""
