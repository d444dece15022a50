"""What the peers, models and probes are called."""

# The names that the demo's models have.
MODELS = {"wdbc": "MLP 30-64-2", "digits": "CNN 1x28x28"}
TITLES = {
    "floor": "unchecked tonic + rustls + ort (the floor)",
    "asepsis": "**Asepsis**, everything on",
    "furnace": "furnace-server, own mTLS",
    "triton": "Triton (its python backend), own mTLS",
    "kserve": "KServe, plaintext",
    "mlserver": "MLServer, plaintext",
}
PROXIES = {"envoy": "Envoy mTLS + RBAC + rate limit + log", "nginx": "nginx mTLS + caller + rate limit + log"}
DEFAULT = (
    *("floor", "asepsis", "furnace", "triton", "kserve", "mlserver"),
    *("envoy+furnace", "envoy+triton", "envoy+kserve", "envoy+mlserver", "nginx+triton"),
)
NAMES = {"furnace": "furnace-server", "triton": "Triton", "kserve": "KServe", "mlserver": "MLServer"}


def title(key: str) -> str:
    proxy, _, behind = key.partition("+")
    return f"{PROXIES[proxy]} in front of {NAMES[behind]}" if behind else TITLES[key]


# What no model should be asked, and who should not ask.
PROBES = {
    "nan": "a row with NaN",
    "shape": "29 features of 30",
    "count": "29 values sent as 30",
    "large": "100 MB in one message",
    "nobody": "no certificate",
    "role": "a certificate of the CA, of a role without this model",
}


def described(code: str, details: str) -> str:
    """A status in one line of a table."""
    words = " ".join(details.split()).replace("|", "/")
    return f"{code}: {words[:90]}{'...' if len(words) > 90 else ''}" if words else code
