"""Where does a sidecar listen that was just started? Of the standard library alone: tests/interop asks, too."""

import json
import queue
import threading
import time

START_SECONDS = 60


def ready(process, log):
    """What `asepsis serve` says in its line `ready`; ends with the words in `log` if there is none in time."""
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            line = lines.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise SystemExit(f"the sidecar is not ready within {START_SECONDS} s:\n{log.read_text()}") from None
        if line is None:
            raise SystemExit(f"the sidecar ended before it was ready:\n{log.read_text()}")
        if line.startswith("{") and json.loads(line).get("event") == "ready":
            return json.loads(line)
