"""asyncio and uvloop: a Protocol that joins chunks, a BufferedProtocol that
receives into a reused buffer, and streams."""

import asyncio

from framing import MAX_FRAME, SMALL, Job, Prefix, announce, connect, listen, seed, without_delay


class Row:
    def __init__(self, style, uvloop=False):
        self.style = style
        self.uvloop = uvloop
        self.kind = {"protocol": Joining, "buffered": Buffered}.get(style)

    def serve(self, options):
        async def main():
            listener = listen(options.listen)
            server = await self.start(listener, options.prefix)
            announce(listener)
            await server.serve_forever()

        self.run(main())

    def bulk(self, options):
        async def main():
            exchange = await self.open(connect(options.connect), options.prefix)
            await Job(options).run(exchange)

        self.run(main())

    def seed(self, options):
        async def main():
            prefix = Prefix("u64le")
            listener = listen("127.0.0.1:0")
            server = await self.start(listener, prefix)
            host, port = listener.getsockname()

            async def iteration(header, payload, room):
                return await self.one(host, port, prefix, header, payload, room)

            await seed(options, iteration)
            server.close()

        self.run(main())

    def run(self, main):
        if self.uvloop:
            import uvloop

            uvloop.run(main)
        else:
            asyncio.run(main)

    async def start(self, listener, prefix):
        loop = asyncio.get_running_loop()
        unix = isinstance(listener.getsockname(), str)
        if self.kind is None:
            start = asyncio.start_unix_server if unix else asyncio.start_server
            echo = lambda reader, writer: echo_stream(reader, writer, prefix)  # noqa: E731
            return await start(echo, sock=listener, limit=LIMIT, backlog=65535)
        create = loop.create_unix_server if unix else loop.create_server
        return await create(lambda: self.kind(prefix), sock=listener, backlog=65535)

    async def open(self, connection, prefix):
        """A function that sends a payload and returns the answer."""
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        unix = isinstance(connection.getsockname(), str)
        if self.kind is None:
            open_ = asyncio.open_unix_connection if unix else asyncio.open_connection
            reader, writer = await open_(sock=connection, limit=LIMIT)

            async def exchange(payload):
                write_frame(writer, prefix.encode(len(payload)), payload)
                await writer.drain()
                return await read_frame(reader, prefix)

            return exchange
        create = loop.create_unix_connection if unix else loop.create_connection
        _, protocol = await create(lambda: self.kind(prefix, client=True), sock=connection)
        return protocol.exchange

    async def one(self, host, port, prefix, header, payload, room):
        """A connection, a frame in two writes, an answer."""
        if self.kind is None:
            reader, writer = await asyncio.open_connection(host, port, limit=LIMIT)
            writer.write(header)
            writer.write(payload)
            await writer.drain()
            answer = await read_frame(reader, prefix)
            writer.close()
            return answer
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(
            lambda: self.kind(prefix, client=True, room=room), host, port
        )
        protocol.answer = loop.create_future()
        protocol.transport.write(header)
        protocol.transport.write(payload)
        answer = await protocol.answer
        protocol.transport.close()
        return answer


# What readexactly may gather before reading pauses.
LIMIT = 1 << 20


async def read_frame(reader, prefix):
    length = prefix.decode(await reader.readexactly(prefix.size))
    return await reader.readexactly(length)


def write_frame(transport, header, payload):
    """Both in one system call, or a large payload without a copy by us.

    `writelines` joins them in asyncio up to Python 3.11; the rest of `bytes`
    that the kernel does not take at once is copied twice, of a view once.
    """
    if len(payload) <= SMALL:
        transport.write(header + payload)
    else:
        transport.write(header)
        transport.write(memoryview(payload))


async def echo_stream(reader, writer, prefix):
    without_delay(writer.get_extra_info("socket"))
    try:
        while True:
            payload = await read_frame(reader, prefix)
            write_frame(writer, prefix.encode(len(payload)), payload)
            await writer.drain()
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # of this connection only
    finally:
        writer.close()


class Framed:
    """What both kinds of protocol do with a frame: echo it, or hand it over.

    `room` is for the payloads, where they have a place of their own.
    """

    def __init__(self, prefix, client=False, room=b""):
        self.prefix = prefix
        self.room = room
        self.client = client
        self.answer = None
        self.lost = None

    def connection_made(self, transport):
        self.transport = transport
        without_delay(transport.get_extra_info("socket"))

    def connection_lost(self, error):
        self.lost = error or EOFError("the server closed the connection")
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(self.lost)

    def frame_received(self, payload):
        if not self.client:
            self.send(payload)
        elif self.answer is not None and not self.answer.done():
            self.answer.set_result(payload)

    def send(self, payload):
        write_frame(self.transport, self.prefix.encode(len(payload)), payload)

    async def exchange(self, payload):
        if self.lost is not None:
            raise self.lost
        self.answer = asyncio.get_running_loop().create_future()
        self.send(payload)
        return await self.answer


class Joining(Framed, asyncio.Protocol):
    """Collects what data_received brings, and joins it once it is enough. The
    small answers of one call are joined as well."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.chunks = []
        self.held = 0
        self.in_payload = False
        self.wanted = self.prefix.size
        self.answers = []

    def data_received(self, data):
        self.chunks.append(data)
        self.held += len(data)
        if self.held < self.wanted:
            return
        if len(self.chunks) > 1:
            data = b"".join(self.chunks)
        self.chunks.clear()
        start = 0
        while len(data) - start >= self.wanted:
            end = start + self.wanted
            piece = data[start:end]
            start = end
            if self.in_payload:
                self.in_payload = False
                self.wanted = self.prefix.size
                self.frame_received(piece)
            else:
                self.in_payload = True
                try:
                    self.wanted = self.prefix.decode(piece)
                except ValueError:
                    return self.transport.abort()
        if start < len(data):
            self.chunks.append(data[start:])
        self.held = len(data) - start
        self.flush()

    def frame_received(self, payload):
        if self.client or len(payload) > SMALL:
            self.flush()
            super().frame_received(payload)
        else:
            self.answers += self.prefix.encode(len(payload)), payload

    def flush(self):
        if self.answers:
            self.transport.write(b"".join(self.answers))
            self.answers.clear()


class Buffered(Framed, asyncio.BufferedProtocol):
    """Has the loop receive into the header, then into a payload that is reused."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.header = memoryview(bytearray(self.prefix.size))
        self.payload = memoryview(self.room)
        self.start(self.header)

    def start(self, view):
        self.view = view
        self.filled = 0

    def get_buffer(self, sizehint):
        return self.view[self.filled :]

    def buffer_updated(self, count):
        self.filled += count
        if self.filled < len(self.view):
            return
        if self.view is not self.header:
            return self.finish()
        try:
            length = self.prefix.decode(self.header)
        except ValueError:
            return self.transport.abort()
        # What the transport has yet to send may stand in the one that there is.
        if len(self.payload) < length or self.transport.get_write_buffer_size() > 0:
            self.payload = memoryview(bytearray(length))
        self.start(self.payload[:length])
        if length == 0:
            self.finish()

    def finish(self):
        payload = self.view
        self.start(self.header)
        self.frame_received(payload)


assert LIMIT < MAX_FRAME
