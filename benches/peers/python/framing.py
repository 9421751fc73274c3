"""What all rows in Python share: frames, addresses, and the word to go."""

import itertools
import json
import os
import random
import resource
import socket
import struct
import sys
import time

MAX_FRAME = 256 << 20

# Joining header and payload costs less than a second system call up to here.
SMALL = 16 * 1024


class Prefix:
    """The length before each frame: u32be or u64le."""

    def __init__(self, name):
        self.packing = struct.Struct({"u32be": ">I", "u64le": "<Q"}[name])
        self.size = self.packing.size

    def encode(self, length):
        return self.packing.pack(length)

    def decode(self, header):
        (length,) = self.packing.unpack_from(header)
        if length > MAX_FRAME:
            raise ValueError(f"a frame of {length} bytes, above the limit of {MAX_FRAME}")
        return length


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(address):
    """A listening socket of the standard library."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
    else:
        host, port = address.rsplit(":", 1)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
    listener.listen(65535)
    return listener


def announce(listener):
    """Says where it listens, once it accepts."""
    name = listener.getsockname()
    address = f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"
    print(f"listening on {address}", flush=True)


def connect(address):
    """A connected blocking socket."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address.removeprefix("unix:"))
    else:
        host, port = address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
    without_delay(connection)
    return connection


def without_delay(connection):
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def unsent(sent, *parts):
    """What is left of the parts when so many bytes of them have gone."""
    for part in parts:
        if sent < len(part):
            yield memoryview(part)[sent:]
        sent = max(0, sent - len(part))


def two_payloads(size):
    """Sent in turn. No byte of one is the same in the other, so that no answer can be
    right by what was left of the frame before."""
    payload = random.Random(1).randbytes(size)
    return payload, payload.translate(bytes(range(255, -1, -1)))


class Job:
    """The verb bulk: frames of two payloads in turn, whoever carries them.

    `exchange` sends a payload and returns the answer.
    """

    def __init__(self, options):
        self.payloads = two_payloads(options.size)
        self.size = options.size
        self.frames = options.frames
        self.warmup = options.warmup

    def check(self, answer, payload):
        if answer != payload:
            sys.exit("an answer of wrong bytes")

    async def run(self, exchange):
        turns = itertools.cycle(self.payloads)
        for payload in itertools.islice(turns, self.warmup):
            self.check(await exchange(payload), payload)
        wait_for_the_word()
        answer = None
        start = time.perf_counter()
        for payload in itertools.islice(turns, self.frames):
            answer = None  # its memory may be used again
            answer = await exchange(payload)
            if len(answer) != self.size:
                sys.exit("an answer of wrong length")
        seconds = time.perf_counter() - start
        self.check(answer, payload)
        report(seconds, frames=self.frames, payload_bytes=self.frames * self.size)


async def seed(options, iteration):
    """The verb seed: `iteration` connects, sends header and payload as two
    writes, and returns the answer. It is lent the same room each time, which a
    row that reuses a buffer receives into."""
    turns = itertools.cycle(two_payloads(options.size))
    header = struct.pack("<Q", options.size)
    room = bytearray(options.size)
    wait_for_the_word()
    seconds = []
    for payload in itertools.islice(turns, options.iterations):
        start = time.perf_counter()
        answer = await iteration(header, payload, room)
        seconds.append(time.perf_counter() - start)
        if answer != payload:
            sys.exit("an answer of wrong bytes")
    report(seconds, payload_bytes=options.size)


def wait_for_the_word():
    print("ready", flush=True)
    sys.stdin.readline()


def report(seconds, payload_bytes, **more):
    print(json.dumps({"seconds": seconds, "bytes": payload_bytes, **more}), flush=True)
    sys.stdin.readline()
