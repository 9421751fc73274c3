"""The rows in Python: `python main.py ROW VERB ...`.

A row is imported only when it is played, so that those of the standard library
need nothing else.
"""

import argparse
import importlib
import sys

from framing import Prefix, raise_descriptor_limit

# Row: the module, and what it is told.
ROWS = {
    "asyncio-protocol": ("asyncio_rows", {"style": "protocol"}),
    "asyncio-buffered": ("asyncio_rows", {"style": "buffered"}),
    "asyncio-streams": ("asyncio_rows", {"style": "streams"}),
    "uvloop-protocol": ("asyncio_rows", {"style": "protocol", "uvloop": True}),
    "uvloop-buffered": ("asyncio_rows", {"style": "buffered", "uvloop": True}),
    "uvloop-streams": ("asyncio_rows", {"style": "streams", "uvloop": True}),
    "tornado-read-bytes": ("tornado_rows", {"style": "read_bytes"}),
    "tornado-read-into": ("tornado_rows", {"style": "read_into"}),
    "curio-readinto": ("curio_row", {}),
    "trio-receive-some": ("trio_rows", {"style": "receive_some"}),
    "trio-recv-into": ("trio_rows", {"style": "recv_into"}),
    "python-blocking": ("blocking_row", {}),
}


def arguments():
    parser = argparse.ArgumentParser(description="A row in Python")
    parser.add_argument("row", choices=ROWS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve")
    serve.add_argument("--listen", required=True)
    bulk = verbs.add_parser("bulk")
    bulk.add_argument("--connect", required=True)
    bulk.add_argument("--frames", type=int, required=True)
    bulk.add_argument("--warmup", type=int, required=True)
    seed = verbs.add_parser("seed")
    seed.add_argument("--iterations", type=int, required=True)
    for verb in (serve, bulk):
        verb.add_argument("--prefix", type=Prefix, required=True)
    for verb in (bulk, seed):
        verb.add_argument("--size", type=int, required=True)
    return parser.parse_args()


def main():
    options = arguments()
    raise_descriptor_limit()
    name, told = ROWS[options.row]
    row = importlib.import_module(name).Row(**told)
    try:
        getattr(row, options.verb)(options)
    except (OSError, EOFError) as error:
        sys.exit(f"{options.row}: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
