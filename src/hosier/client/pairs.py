"""Two ends of a connection within this machine, for what must be carried by us."""

import socket

__all__ = ("tcp_pair",)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both non-blocking; of TCP, because libraries set TCP's options."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        while True:
            theirs, peer = listener.accept()
            if peer == ours.getsockname():
                break
            theirs.close()  # of a stranger's
    theirs.setblocking(False)
    ours.setblocking(False)
    return theirs, ours
