"""Trio: a SocketStream's receive_some, and a socket's recv_into."""

import trio

from framing import SMALL, Job, Prefix, announce, connect, listen, seed, unsent, without_delay


class Row:
    def __init__(self, style):
        self.wire = {"receive_some": Joining, "recv_into": Filling}[style]

    def serve(self, options):
        async def main():
            listener = listen(options.listen)
            announce(listener)
            await trio.serve_listeners(self.echo(options.prefix), [adopt_listener(listener)])

        trio.run(main)

    def bulk(self, options):
        async def main():
            wire = self.wire(adopt(connect(options.connect)), options.prefix)

            async def exchange(payload):
                await wire.send(payload)
                return await wire.receive()

            await Job(options).run(exchange)

        trio.run(main)

    def seed(self, options):
        async def main():
            prefix = Prefix("u64le")
            listener = listen("127.0.0.1:0")
            host, port = listener.getsockname()

            async def iteration(header, payload, room):
                wire = self.wire(adopt(connect(f"{host}:{port}")), prefix, room)
                await wire.stream.send_all(header)
                await wire.stream.send_all(payload)
                answer = await wire.receive()
                await wire.stream.aclose()
                return answer

            async with trio.open_nursery() as nursery:
                listeners = [adopt_listener(listener)]
                nursery.start_soon(trio.serve_listeners, self.echo(prefix), listeners)
                await seed(options, iteration)
                nursery.cancel_scope.cancel()

        trio.run(main)

    def echo(self, prefix):
        """What is done with each connection."""

        async def handler(stream):
            wire = self.wire(stream, prefix)
            try:
                while True:
                    await wire.send(await wire.receive())
            except (OSError, EOFError, ValueError, trio.BrokenResourceError):
                pass  # of this connection only

        return handler


def adopt_listener(listener):
    listener.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


def adopt(connection):
    without_delay(connection)
    connection.setblocking(False)
    return trio.SocketStream(trio.socket.from_stdlib_socket(connection))


class Wire:
    """Frames over a SocketStream, which sets TCP_NODELAY itself.

    `room` is for the payloads, where they have a place of their own.
    """

    def __init__(self, stream, prefix, room=b""):
        self.stream = stream
        self.prefix = prefix
        self.room = room

    async def send(self, payload):
        header = self.prefix.encode(len(payload))
        if len(payload) <= SMALL:
            await self.stream.send_all(header + payload)
        else:
            await self.stream.send_all(header)
            await self.stream.send_all(payload)


class Joining(Wire):
    """receive_some, gathered in a bytearray."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.held = bytearray()

    async def receive(self):
        length = self.prefix.decode(await self.take(self.prefix.size))
        return await self.take(length)

    async def take(self, count):
        while len(self.held) < count:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError("the peer ended inside of a frame")
            self.held += data
        taken = bytes(memoryview(self.held)[:count])
        del self.held[:count]
        return taken


class Filling(Wire):
    """recv_into a reused buffer, sendmsg of header and payload."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.header = memoryview(bytearray(self.prefix.size))
        self.buffer = memoryview(self.room)

    async def receive(self):
        await self.fill(self.header)
        length = self.prefix.decode(self.header)
        if len(self.buffer) < length:
            self.buffer = memoryview(bytearray(length))
        payload = self.buffer[:length]
        await self.fill(payload)
        return payload

    async def send(self, payload):
        header = self.prefix.encode(len(payload))
        sent = await self.stream.socket.sendmsg([header, payload])
        for rest in unsent(sent, header, payload):
            await self.stream.send_all(rest)

    async def fill(self, buffer):
        filled = 0
        while filled < len(buffer):
            count = await self.stream.socket.recv_into(buffer[filled:])
            if count == 0:
                raise EOFError("the peer ended inside of a frame")
            filled += count
