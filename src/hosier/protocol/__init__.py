"""The wire and nothing else: bytes in, events out, bytes out. No socket, clock, log or await lives below here."""
