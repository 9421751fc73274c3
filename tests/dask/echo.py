"""Dask's own client against the example: each message comes back as it was sent, and
what is beyond the limits is refused with a reason."""

import asyncio
import socket
import struct
import unittest

import numpy as np
from distributed.comm import CommClosedError, connect
from distributed.protocol import to_serialize

from server import readinto

MIB = 1 << 20


def array(length, seed=1):
    """An array of so many bytes that no compression would help."""
    return np.random.default_rng(seed).integers(0, 256, length, dtype=np.uint8)


def message(arrays):
    return {"op": "put", "arrays": [to_serialize(each) for each in arrays]}


class Echo(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # The case's own loop would tell of each step that takes long.
        asyncio.get_running_loop().set_debug(False)

    def start(self, *options):
        server = self.enterContext(readinto(*options))
        self.addCleanup(lambda: self.assertIsNone(server.process.poll(), server.logged()))
        return server

    async def connect(self, server):
        comm = await asyncio.wait_for(connect(server.address), 10)
        self.addAsyncCleanup(comm.close)
        return comm

    async def echo_arrays(self, comm, arrays):
        await comm.write(message(arrays))
        answer = await asyncio.wait_for(comm.read(), 20)
        self.assertEqual(answer["op"], "put")
        self.assertEqual(len(answer["arrays"]), len(arrays))
        for sent, got in zip(arrays, answer["arrays"]):
            self.assertEqual(sent.dtype, got.dtype)
            np.testing.assert_array_equal(sent, got)

    async def assert_logged(self, server, *parts):
        """Waits for the one line that it says."""
        for _ in range(500):
            lines = server.logged().splitlines()
            if lines:
                break
            await asyncio.sleep(0.01)
        self.assertEqual(len(lines), 1, lines)
        for part in parts:
            self.assertIn(part, lines[0])

    async def test_the_handshake_settles_what_both_can_do(self):
        comm = await self.connect(self.start())
        self.assertEqual(comm.handshake_options, {"compression": None, "pickle-protocol": 5})

    async def test_small_objects(self):
        comm = await self.connect(self.start())
        for sent in [None, 0, "", "text", b"bytes", {}, {"a": {"b": (1, 2.5, None)}}, "x" * 300_000]:
            await comm.write(sent)
            self.assertEqual(await asyncio.wait_for(comm.read(), 10), sent)

    async def test_arrays_from_1_kb_to_200_mb(self):
        comm = await self.connect(self.start())
        for length in [1000, 65_536, 131_071, 1_000_000, 33_554_432, 200_000_000]:
            with self.subTest(length):
                await self.echo_arrays(comm, [array(length)])

    async def test_arrays_of_other_types_and_of_no_bytes(self):
        comm = await self.connect(self.start())
        matrix = np.arange(60_000, dtype="f8").reshape(200, 300)
        await self.echo_arrays(comm, [matrix, matrix.T, matrix[::2], np.empty(0), np.zeros(1, "c16")])

    async def test_many_arrays_in_one_message(self):
        comm = await self.connect(self.start())
        # All in the first part; one in it, others behind it; more than one call can hold.
        for count, length in [(1000, 100), (2, 300_000), (50, 300_000), (3, 20_000_000)]:
            with self.subTest(count=count, length=length):
                await self.echo_arrays(comm, [array(length, seed) for seed in range(count)])

    async def test_messages_that_are_sent_before_the_first_is_read(self):
        comm = await self.connect(self.start())
        arrays = [array(700_000, seed) for seed in range(10)]
        for each in arrays:
            await comm.write(message([each]))
        for each in arrays:
            answer = await asyncio.wait_for(comm.read(), 10)
            np.testing.assert_array_equal(answer["arrays"][0], each)

    async def test_twenty_comms_at_once(self):
        # Less than they have in flight together.
        server = self.start("--memory", "64MiB")

        async def talk(number):
            comm = await self.connect(server)
            for round in range(3):
                await self.echo_arrays(comm, [array(5_000_000, number), array(100, round)])

        await asyncio.gather(*(talk(number) for number in range(20)))
        self.assertLess(server.most_resident(), (64 + 16) * 1024, "KiB resident")

    async def test_a_comm_that_is_aborted_in_the_middle_harms_no_other(self):
        server = self.start()
        other, comm = await self.connect(server), await self.connect(server)
        await comm.write(message([array(50_000_000)]))
        comm.abort()
        await self.echo_arrays(other, [array(1_000_000)])
        await self.assert_logged(server, "closed the connection from 127.0.0.1:")

    async def test_a_comm_that_is_closed_between_two_messages_is_no_error(self):
        server = self.start()
        comm = await self.connect(server)
        await self.echo_arrays(comm, [array(1000)])
        await comm.close()
        await self.echo_arrays(await self.connect(server), [array(1000)])
        self.assertEqual(server.logged(), "")

    async def test_a_message_beyond_the_limit_is_refused_and_the_longest_is_not(self):
        server = self.start("--max-message", "1MiB")
        comm, other = await self.connect(server), await self.connect(server)
        await self.echo_arrays(comm, [array(MIB - 1000)])
        with self.assertRaises(CommClosedError):
            await self.echo_arrays(comm, [array(MIB)])
        await self.assert_logged(server, "refused a message of 1048", "--max-message")
        await self.echo_arrays(other, [array(1000)])

    async def test_a_message_of_too_many_frames_is_refused(self):
        server = self.start("--max-frames", "21")
        comm = await self.connect(server)
        # One of its own, and two for each array.
        await self.echo_arrays(comm, [array(1000, seed) for seed in range(10)])
        with self.assertRaises(CommClosedError):
            await self.echo_arrays(comm, [array(1000, seed) for seed in range(11)])
        await self.assert_logged(server, "23 frames", "--max-frames")

    async def test_what_no_client_sends_is_refused(self):
        for integers, reason in [
            ((0, 0), "first part of 0"),
            ((17, 1, 100), "first part of 17"),
            ((115, 1, 100), "first part of 115"),
            ((2**64 - 1, 2**64 - 1), "18446744073709551615 frames"),
            ((24, 2, 2**64 - 1, 2**64 - 1), "18446744073709551615 bytes"),
        ]:
            with self.subTest(integers):
                server = self.start()
                with connect_plain(server) as peer:
                    peer.sendall(struct.pack(f"<{len(integers)}Q", *integers))
                    await self.assert_logged(server, "refused a message of", reason)

    async def test_an_announcement_costs_no_memory_until_it_is_kept(self):
        server = self.start("--memory", "2GiB")
        before = server.most_resident()
        with connect_plain(server) as peer:
            peer.sendall(struct.pack("<QQQ", 16, 1, 1_000_000_000))
            await self.echo_arrays(await self.connect(server), [array(1_000_000)])
            self.assertLess(server.most_resident() - before, 8 * 1024, "KiB resident")

    async def test_connections_above_the_limit_wait_for_others_to_end(self):
        server = self.start("--max-connections", "1")
        comm = await self.connect(server)
        with connect_plain(server) as waiting:
            for _ in range(10):
                await self.echo_arrays(comm, [array(1000)])
            waiting.setblocking(False)
            with self.assertRaises(BlockingIOError):
                waiting.recv(1)
            await comm.close()
            waiting.settimeout(10)
            self.assertEqual(len(waiting.recv(1)), 1, "it is greeted")

    async def test_what_stalled_messages_hold_comes_back_in_time(self):
        server = self.start("--memory", "16MiB", "--timeout", "1")
        with connect_plain(server) as peer:
            peer.sendall(struct.pack("<QQQ", 16, 1, 12_000_000))
            await self.assert_logged(server, "not done within 1s")
            # There was no room beside it.
            await self.echo_arrays(await self.connect(server), [array(8_000_000)])


def connect_plain(server):
    host, port = server.address.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)))


if __name__ == "__main__":
    unittest.main()
