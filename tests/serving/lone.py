"""A server with a small model in a process of its own: `python -m tests.serving.lone '{"kept": 3}'`."""

from __future__ import annotations

import json
import sys

from dinoseg.serving.app import create_app
from dinoseg.serving.models import Models, Served
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.server import name_address, run_server, take_address
from tests.serving.plain import Grey


def main(options: ServeOptions) -> None:
    with take_address(options) as listening:
        app = create_app(Models([Served("grey", Grey())]), options=options)
        address = name_address(listening)
        run_server(
            app, listening, options, on_ready=lambda: sys.stdout.write(f"{address}\n") and sys.stdout.flush()
        )


if __name__ == "__main__":
    main(ServeOptions(port=0, **json.loads(sys.argv[1])))
