"""Tornado: IOStream.read_bytes, and read_into, which came of the thread."""

import asyncio

from tornado.iostream import IOStream, StreamClosedError

from framing import MAX_FRAME, Job, Prefix, announce, connect, listen, seed


class Row:
    def __init__(self, style):
        self.style = style

    def serve(self, options):
        async def main():
            listener = listen(options.listen)
            announce(listener)
            await self.accept_all(listener, options.prefix)

        asyncio.run(main())

    def bulk(self, options):
        async def main():
            wire = Wire(connect(options.connect), options.prefix, self.style)

            async def exchange(payload):
                await wire.send(payload)
                return await wire.receive()

            await Job(options).run(exchange)

        asyncio.run(main())

    def seed(self, options):
        async def main():
            prefix = Prefix("u64le")
            listener = listen("127.0.0.1:0")
            accepting = asyncio.create_task(self.accept_all(listener, prefix))
            host, port = listener.getsockname()

            async def iteration(header, payload):
                wire = Wire(connect(f"{host}:{port}"), prefix, self.style)
                wire.stream.write(header)
                await wire.stream.write(payload)
                answer = await wire.receive()
                wire.stream.close()
                return answer

            await seed(options, iteration)
            accepting.cancel()

        asyncio.run(main())

    async def accept_all(self, listener, prefix):
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        echoes = set()
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(echo(Wire(connection, prefix, self.style)))
            echoes.add(task)
            task.add_done_callback(echoes.discard)


class Wire:
    """Frames over an IOStream."""

    def __init__(self, connection, prefix, style):
        self.stream = IOStream(connection, max_buffer_size=2 * MAX_FRAME)
        if connection.family.name != "AF_UNIX":
            self.stream.set_nodelay(True)
        self.prefix = prefix
        self.style = style
        self.buffer = bytearray()

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
        self.stream.write(self.prefix.encode(len(payload)))
        await self.stream.write(memoryview(payload))


async def echo(wire):
    try:
        while True:
            await wire.send(await wire.receive())
    except (StreamClosedError, OSError, ValueError):
        wire.stream.close()  # of this connection only
