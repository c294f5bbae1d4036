"""The client library: through a SOCKS proxy, or a chain of them, with plain sockets or asyncio."""
