"""Asks nvidia-smi. Thin: the reading is done in `deployctl.hardware.nvidia_smi`."""

from deployctl.doctor.facts import Gpus
from deployctl.doctor.shell import Ran, Run
from deployctl.hardware.nvidia_smi import (
    APP_FIELDS,
    CARD_FIELDS,
    OLD_CARD_FIELDS,
    read_apps,
    read_cards,
    read_failure,
    read_lost,
    read_matrix,
)

TIMEOUT_S = 12.0  # without persistence mode, eight cards take some seconds to wake


def ask_gpus(run: Run, *, thorough: bool = True) -> Gpus:
    """Returns the cards, whether they reach each other and, when `thorough`, who uses them."""
    answer = _query(run, CARD_FIELDS)
    if read_failure(answer.text, answer.code or 0) == "bad_field":
        answer = _query(run, OLD_CARD_FIELDS)
    if answer.code is None:
        return Gpus("hang" if answer.hung else "missing", answer.err)
    failure = read_failure(answer.text, answer.code)
    cards = read_cards(answer.out)
    lost = read_lost(answer.text)
    if failure and not cards:
        return Gpus(failure, _first_line(answer.text), lost=lost)
    peers = run(["nvidia-smi", "topo", "-p2p", "r"], 6) if len(cards) > 1 else Ran(0)
    query = ["nvidia-smi", f"--query-compute-apps={','.join(APP_FIELDS)}", "--format=csv"]
    apps = run(query, 6) if thorough else Ran(0)
    return Gpus(None, "", cards, read_apps(apps.out), lost, read_matrix(peers.out))


def _query(run: Run, fields: tuple[str, ...]) -> Ran:
    return run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv"], TIMEOUT_S)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
