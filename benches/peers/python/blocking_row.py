"""No event loop: blocking sockets, recv_into a reused buffer, a thread per
connection."""

import threading

from framing import Job, Prefix, announce, connect, listen, seed, unsent, without_delay


class Row:
    def serve(self, options):
        listener = listen(options.listen)
        announce(listener)
        accept_all(listener, options.prefix)

    def bulk(self, options):
        wire = Wire(connect(options.connect), options.prefix)

        async def exchange(payload):
            wire.send(payload)
            return wire.receive()

        blocking(Job(options).run(exchange))

    def seed(self, options):
        # Blocking calls have no loop to share: the other end is a thread.
        listener = listen("127.0.0.1:0")
        prefix = Prefix("u64le")
        threading.Thread(target=accept_all, args=(listener, prefix), daemon=True).start()
        host, port = listener.getsockname()

        async def iteration(header, payload, room):
            with connect(f"{host}:{port}") as connection:
                connection.sendall(header)
                connection.sendall(payload)
                return Wire(connection, prefix, room).receive()

        blocking(seed(options, iteration))


class Wire:
    """Frames over a socket, in one buffer."""

    def __init__(self, connection, prefix, room=b""):
        self.connection = connection
        self.prefix = prefix
        self.header = memoryview(bytearray(prefix.size))
        self.buffer = memoryview(room)

    def receive(self):
        """The next payload, or None at the end."""
        if not self.fill(self.header):
            return None
        length = self.prefix.decode(self.header)
        if len(self.buffer) < length:
            self.buffer = memoryview(bytearray(length))
        payload = self.buffer[:length]
        if length and not self.fill(payload):
            raise EOFError("the peer ended inside of a frame")
        return payload

    def fill(self, buffer):
        filled = 0
        while filled < len(buffer):
            count = self.connection.recv_into(buffer[filled:])
            if count == 0:
                if filled:
                    raise EOFError("the peer ended inside of a frame")
                return False
            filled += count
        return True

    def send(self, payload):
        header = self.prefix.encode(len(payload))
        sent = self.connection.sendmsg([header, payload])
        for rest in unsent(sent, header, payload):
            self.connection.sendall(rest)


def accept_all(listener, prefix):
    threading.stack_size(128 * 1024)
    while True:
        connection, _ = listener.accept()
        without_delay(connection)
        threading.Thread(target=echo, args=(connection, prefix), daemon=True).start()


def echo(connection, prefix):
    wire = Wire(connection, prefix)
    try:
        with connection:
            while (payload := wire.receive()) is not None:
                wire.send(payload)
    except (OSError, EOFError, ValueError):
        pass  # of this connection only


def blocking(coroutine):
    """Runs what never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        pass
