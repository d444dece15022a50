"""Debian's Chromium without a screen, asked over the DevTools protocol: two pipes, no port, no further package.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

ANSWER_SECONDS = 60
COMMAND = os.environ.get("ASEPSIS_CHROMIUM") or shutil.which("chromium")
# Nothing of its own goes to the network, so that whatever does is the page's.
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-extensions", "--disable-component-update", "--disable-background-networking"),
    *("--disable-sync", "--disable-default-apps", "--metrics-recording-only", "--no-pings", "--hide-scrollbars"),
)


class Browser:
    """One page. Everything that it reports is kept in `events`, in order."""

    def __init__(self, process: subprocess.Popen, commands: int, answers: int) -> None:
        self.events: list[dict] = []
        self._process, self._commands = process, commands
        self._messages: queue.Queue = queue.Queue()
        self._asked = 0
        self._session: str | None = None
        threading.Thread(target=self._read, args=(answers,), daemon=True).start()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Audits", "DOM", "Accessibility"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters) -> dict:
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._asked:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def wait_for(self, method: str) -> dict:
        """The next event of that kind."""
        while True:
            event = self._next()
            self.events.append(event)
            if event.get("method") == method:
                return event["params"]

    def of(self, method: str) -> list[dict]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def screen(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """A screen of that size, of a phone below 600 pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        failed = self.ask("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str):
        """The value of an expression; DevTools is not bound by the page's policy."""
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def screenshot(self, path: Path, full: bool = True) -> None:
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Whatever the browser has to say against the page: its console, its log, its list of issues."""
        logged = [entry["entry"]["text"] for entry in self.of("Log.entryAdded")]
        called = [str(call["args"]) for call in self.of("Runtime.consoleAPICalled")]
        thrown = [str(thrown["exceptionDetails"]) for thrown in self.of("Runtime.exceptionThrown")]
        issues = [str(issue["issue"]) for issue in self.of("Audits.issueAdded")]
        return logged + called + thrown + issues

    def requests(self) -> list[str]:
        return [sent["request"]["url"] for sent in self.of("Network.requestWillBeSent")]

    def _next(self) -> dict:
        try:
            message = self._messages.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise AssertionError(f"Chromium has said nothing for {ANSWER_SECONDS} s") from None
        assert message is not None, f"Chromium has ended: {self._process.poll()}"
        return message

    def _read(self, answers: int) -> None:
        rest = b""
        while chunk := os.read(answers, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in messages:
                self._messages.put(json.loads(message))
        self._messages.put(None)


@contextmanager
def browsing(directory: Path):
    """A browser with a profile of its own in `directory`."""
    (their_commands, commands), (answers, their_answers) = os.pipe(), os.pipe()
    # It reads commands from file descriptor 3 and answers on 4; out of their way first, lest one be the other.
    theirs = [fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (their_commands, their_answers)]
    command = [COMMAND, *OPTIONS, f"--user-data-dir={directory / 'profile'}"]
    with (directory / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(3, 4),
            preexec_fn=lambda: [os.dup2(pipe, place) for place, pipe in enumerate(theirs, start=3)],
            start_new_session=True,
        )
    for pipe in (their_commands, their_answers, *theirs):
        os.close(pipe)
    try:
        yield Browser(process, commands, answers)
    finally:
        # Its own processes, which are a group of their own.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(commands)
        os.close(answers)
