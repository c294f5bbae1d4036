"""Sockets of the server's side: one epoll nested in whatever asyncio loop runs. Knows octets, not SOCKS."""
