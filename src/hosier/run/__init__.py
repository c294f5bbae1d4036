"""RFC 3089 for any program: its connections, datagrams and names go through a proxy, whatever it is written in.

The program runs in a network namespace of its own, in which every address leads to sockets of ours (``namespace``,
``network``, ``mounts``, ``doors``). A second process, outside, owns those sockets and is the gateway: an engine and an
egress (``outside``, ``capture``, ``flows``, ``name_server``). ``launch`` tells the story.
"""
