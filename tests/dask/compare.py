"""Dask's own client against Dask's own tcp listener and against the example, in turns.

Prints the table of docs/benchmarks.md. One message is in flight; a round with each
server comes before those that count. Where there are two cores, client and server
have one each.
"""

import argparse
import asyncio
import os
import time
from contextlib import ExitStack

import numpy as np
from distributed.comm import connect
from distributed.protocol import to_serialize

from server import readinto, tornado

SERVERS = [tornado, readinto, lambda: readinto("--busy-poll", "200")]
SIZES = {"1 KB": 1000, "1 MB": 1_000_000, "100 MB": 100_000_000}


async def echo(comm, array):
    await comm.write({"array": to_serialize(array)})
    return (await comm.read())["array"]


async def measure(server, array, seconds):
    """Echoes per second, and the seconds of processor time that the server takes for each."""
    comm = await connect(server.address)
    np.testing.assert_array_equal(await echo(comm, array), array)
    echoes, start, computed = 0, time.perf_counter(), server.processor_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        await echo(comm, array)
        echoes += 1
    computed = server.processor_time() - computed
    np.testing.assert_array_equal(await echo(comm, array), array)
    await comm.close()
    return echoes / elapsed, computed / echoes


async def compare(servers, length, options):
    """For each server of ours: the rate and the processor time, to Dask's in each round."""
    array = np.random.default_rng(1).integers(0, 256, length, dtype=np.uint8)
    rounds = []
    for _ in range(1 + options.runs):
        figures = [await measure(server, array, options.seconds) for server in servers]
        rounds.append(np.array(figures[1:]) / figures[0])
    return np.moveaxis(rounds[1:], 0, -1)


def spread(ratios):
    return f"{np.median(ratios):.2f} ({ratios.min():.2f}–{ratios.max():.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="rounds that count")
    parser.add_argument("--seconds", type=float, default=2, help="for each server in a round")
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = [stack.enter_context(start()) for start in SERVERS]
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[:1])
            for server in servers:
                os.sched_setaffinity(server.process.pid, cores[1:2])
        print("| array | messages/s | …, busy polling | processor time of the server |")
        print("|---|---|---|---|")
        for name, length in SIZES.items():
            plain, polling = asyncio.run(compare(servers, length, options))
            cells = [name, spread(plain[0]), spread(polling[0]), spread(plain[1])]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
