"""Dask's own client against Dask's own tcp listener and against the example, in turns.

Prints the table of docs/benchmarks.md. One message is in flight; a round with each
server comes before those that count. Where there are two cores, client and server
have one each.
"""

import argparse
import asyncio
import os
import statistics
import time
from contextlib import ExitStack

import numpy as np
from distributed.comm import connect
from distributed.protocol import to_serialize

from server import readinto, tornado

SIZES = {"1 KB": 1000, "1 MB": 1_000_000, "100 MB": 100_000_000}


async def rate(server, array, seconds):
    """Echoes per second, and the seconds of processor time that the server takes for each."""
    comm = await connect(server.address)
    echoes = -1
    while echoes < 1 or time.perf_counter() < end:
        await comm.write({"array": to_serialize(array)})
        answer = await comm.read()
        if echoes < 0:
            np.testing.assert_array_equal(answer["array"], array)
            start = time.perf_counter()
            end, spent = start + seconds, server.processor_time()
        echoes += 1
    elapsed, spent = time.perf_counter() - start, server.processor_time() - spent
    np.testing.assert_array_equal(answer["array"], array)
    await comm.close()
    return echoes / elapsed, spent / echoes


async def compare(servers, length, options):
    """The ratios of each round that counts."""
    array = np.random.default_rng(1).integers(0, 256, length, dtype=np.uint8)
    rounds = []
    for _ in range(1 + options.runs):
        ours, theirs = [await rate(server, array, options.seconds) for server in servers]
        rounds.append((ours[0] / theirs[0], ours[1] / theirs[1]))
    return zip(*rounds[1:])


def spread(ratios):
    ratios = sorted(ratios)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="rounds that count")
    parser.add_argument("--seconds", type=float, default=2, help="for each server in a round")
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = [stack.enter_context(start()) for start in (readinto, tornado)]
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[:1])
            for server in servers:
                os.sched_setaffinity(server.process.pid, cores[1:2])
        print("| array | messages/s | the server's processor time |")
        print("|---|---|---|")
        for name, length in SIZES.items():
            rates, times = asyncio.run(compare(servers, length, options))
            print(f"| {name} | {spread(rates)} | {spread(times)} |", flush=True)


if __name__ == "__main__":
    main()
