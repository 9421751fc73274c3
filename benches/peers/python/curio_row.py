"""Curio: a stream's readinto a reused buffer, as in the answer to the thread."""

import curio
from curio.io import Socket

from framing import SMALL, Job, Prefix, announce, connect, listen, seed, unsent, without_delay


class Row:
    def serve(self, options):
        listener = listen(options.listen)
        announce(listener)
        curio.run(accept_all, Socket(listener), options.prefix)

    def bulk(self, options):
        async def main():
            wire = Wire(Socket(connect(options.connect)), options.prefix)

            async def exchange(payload):
                await wire.send(payload)
                return await wire.receive()

            await Job(options).run(exchange)

        curio.run(main)

    def seed(self, options):
        async def main():
            prefix = Prefix("u64le")
            listener = listen("127.0.0.1:0")
            accepting = await curio.spawn(accept_all, Socket(listener), prefix, daemon=True)
            host, port = listener.getsockname()

            async def iteration(header, payload, room):
                connection = await curio.open_connection(host, port)
                without_delay(connection._socket)
                async with connection:
                    wire = Wire(connection, prefix, room)
                    await wire.stream.write(header)
                    await wire.stream.write(payload)
                    return await wire.receive()

            await seed(options, iteration)
            await accepting.cancel()

        curio.run(main)


class Wire:
    """Frames over a stream, in one buffer."""

    def __init__(self, connection, prefix, room=b""):
        self.connection = connection
        self.stream = connection.as_stream()
        self.prefix = prefix
        self.buffer = memoryview(room)

    async def receive(self):
        header = await self.stream.read_exactly(self.prefix.size)
        length = self.prefix.decode(header)
        if len(self.buffer) < length:
            self.buffer = memoryview(bytearray(length))
        payload = self.buffer[:length]
        filled = 0
        while filled < length:
            count = await self.stream.readinto(payload[filled:])
            if count == 0:
                raise EOFError("the peer ended inside of a frame")
            filled += count
        return payload

    async def send(self, payload):
        header = self.prefix.encode(len(payload))
        if len(payload) <= SMALL:
            await self.stream.write(header + payload)
        else:
            sent = await self.connection.sendmsg([header, payload])
            for rest in unsent(sent, header, payload):
                await self.stream.write(rest)


async def accept_all(listener, prefix):
    async with curio.TaskGroup(wait=None) as echoes:
        while True:
            connection, _ = await listener.accept()
            without_delay(connection._socket)
            await echoes.spawn(echo, connection, prefix)


async def echo(connection, prefix):
    try:
        async with connection:
            wire = Wire(connection, prefix)
            while True:
                await wire.send(await wire.receive())
    except (OSError, EOFError, ValueError):
        pass  # of this connection only
