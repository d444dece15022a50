"""What does each peer answer to what no model should be asked? And are its answers the model's?"""

import grpc
import numpy as np

from .names import described
from .oip import infer
from .peers import Running
from .processes import PeerFailed, Used

TOLERANCE = 1e-5
MODEL = "wdbc"
LARGE_BYTES = 100_000_000


def require_equal(running: Running, model: str, tensor: str, rows: np.ndarray, expected: np.ndarray) -> float:
    """Every row's answer is that of `session.run`; the largest difference."""
    with running.address.channel() as channel:
        answers = [infer(channel, model, tensor, rows[at : at + 1]) for at in range(len(rows))]
    difference = float(np.abs(np.concatenate(answers) - expected).max())
    if not difference <= TOLERANCE:
        raise PeerFailed(f"its answers for {model} differ from those of session.run by {difference:g}")
    return difference


def accepted(running: Running, model: str, tensor: str, rows: np.ndarray) -> list[int]:
    """The rows that are answered. A guard may withhold the answer to some; refusals are not what is measured."""
    found = []
    with running.address.channel() as channel:
        for at in range(len(rows)):
            try:
                infer(channel, model, tensor, rows[at : at + 1])
                found.append(at)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
    return found


def probe(running: Running, tensor: str, row: np.ndarray) -> dict[str, str]:
    """What the peer says to each probe. The large message comes last, for what it leaves behind."""
    address, row = running.address, row.reshape(1, -1)
    said = {}
    with address.channel() as channel:
        broken = row.copy()
        broken[0, 3] = np.nan
        said["nan"] = ask(channel, tensor, broken)
        said["shape"] = ask(channel, tensor, row[:, :29])
        said["count"] = ask(channel, tensor, row[:, :29], [1, 30])
    if address.pki is None:
        said["nobody"] = said["role"] = "answered: it knows no callers"
    else:
        for name, certificate in ("nobody", None), ("role", "client-Radiologists_AI_Read"):
            with address.channel(certificate) as channel:
                said[name] = ask(channel, tensor, row)
                if said[name].startswith("UNAVAILABLE"):
                    said[name] = "no connection: the handshake fails"
    before = Used.by(running.roots).rss_mib
    with address.channel() as channel:
        large = np.repeat(row, LARGE_BYTES // row.nbytes, axis=0)
        said["large"] = ask(channel, tensor, large)
    grown = Used.by(running.roots).rss_mib - before
    if grown >= 10:
        said["large"] += f" ({grown:.0f} MiB more are resident afterwards)"
    return said


def ask(channel: grpc.Channel, tensor: str, values: np.ndarray, shape: list[int] | None = None) -> str:
    try:
        answer = infer(channel, MODEL, tensor, values, shape)
    except grpc.RpcError as error:
        return described(error.code().name, error.details() or "")
    except ValueError as error:
        return f"an answer that cannot be read: {error}"
    values = ", ".join(f"{value:.3g}" for value in answer.flat[:2])
    return f"answered [{values}]" if len(answer) == 1 else f"answered, {len(answer)} rows"
