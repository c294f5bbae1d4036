"""Through a proxy with the libraries that programs use: one small file for each, which imports it when it is called.

Every call takes the proxy first: a URL, a :class:`hosier.Proxy`, or a list of them, a chain. What goes wrong on the way
is raised as the host library's own class, with our error as its cause.
"""
