"""Tornado: IOStream.read_bytes, and read_into, which came of the thread."""

import asyncio

from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpserver import TCPServer

from framing import MAX_FRAME, SMALL, Job, Prefix, announce, connect, listen, seed


class Row:
    def __init__(self, style):
        self.style = style

    def serve(self, options):
        async def main():
            listener = listen(options.listen)
            announce(listener)
            self.start(listener, options.prefix)
            await asyncio.Event().wait()

        asyncio.run(main())

    def bulk(self, options):
        async def main():
            stream = IOStream(connect(options.connect), max_buffer_size=ROOM)
            wire = Wire(stream, options.prefix, self.style)

            async def exchange(payload):
                await wire.send(payload)
                return await wire.receive()

            await Job(options).run(exchange)

        asyncio.run(main())

    def seed(self, options):
        async def main():
            prefix = Prefix("u64le")
            listener = listen("127.0.0.1:0")
            server = self.start(listener, prefix)
            host, port = listener.getsockname()

            async def iteration(header, payload, room):
                stream = IOStream(connect(f"{host}:{port}"), max_buffer_size=ROOM)
                wire = Wire(stream, prefix, self.style, room)
                wire.stream.write(header)
                await wire.stream.write(payload)
                answer = await wire.receive()
                wire.stream.close()
                return answer

            await seed(options, iteration)
            server.stop()

        asyncio.run(main())

    def start(self, listener, prefix):
        listener.setblocking(False)
        server = Echo(prefix, self.style)
        server.add_socket(listener)
        return server


# What a stream may hold.
ROOM = 2 * MAX_FRAME


class Echo(TCPServer):
    """Whole frames, one after the other."""

    def __init__(self, prefix, style):
        super().__init__(max_buffer_size=ROOM)
        self.prefix = prefix
        self.style = style

    async def handle_stream(self, stream, address):
        wire = Wire(stream, self.prefix, self.style)
        try:
            while True:
                await wire.send(await wire.receive())
        except (StreamClosedError, OSError, ValueError):
            stream.close()  # of this connection only


class Wire:
    """Frames over an IOStream."""

    def __init__(self, stream, prefix, style, room=b""):
        self.stream = stream
        if stream.socket.family.name != "AF_UNIX":
            self.stream.set_nodelay(True)
        self.prefix = prefix
        self.style = style
        self.buffer = room

    async def receive(self):
        length = self.prefix.decode(await self.stream.read_bytes(self.prefix.size))
        if self.style == "read_bytes":
            return await self.stream.read_bytes(length) if length else b""
        if len(self.buffer) != length:
            self.buffer = bytearray(length)
        if length:
            await self.stream.read_into(self.buffer)
        return self.buffer

    async def send(self, payload):
        header = self.prefix.encode(len(payload))
        if len(payload) <= SMALL:
            await self.stream.write(header + payload)
        else:
            self.stream.write(header)
            await self.stream.write(memoryview(payload))
