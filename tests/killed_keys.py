"""Kills `keys` at random moments, and looks at what it left: python killed_keys.py STATE ROUNDS.

Each round a child adds and revokes keys of the service `tiny` of that state folder, says in a
pipe what it has done, and is killed. The service's engine is a folder that is published to.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from deployctl.errors import DeployctlError
from deployctl.operations.keys import place
from deployctl.operations.keys.manage import add_key, list_keys, revoke_key
from deployctl.targets import keyfile, keys
from deployctl.targets.store import Store
from deployctl_door import keys as door
from keys_parts import REF, Engine

LONGEST_S = 0.02  # from a change that was told to the end: about as long as one takes


def main(state: Path, rounds: int) -> None:
    os.environ["DEPLOYCTL_STATE_DIR"] = str(state)
    engine = Engine(Store(state))
    place.open_driver = lambda target, settings: engine
    keys.SEEN_S = 0.0  # nobody asks
    folder = Store(state).folder(REF)
    leaked = (folder / "api_key").read_text()
    kept = add_key("tiny", "kept").key
    revoke_key("tiny", "default")
    chance = random.Random(int.from_bytes(os.urandom(4), "big"))
    changes = 0
    for number in range(rounds):
        done = one_round(number, chance.randrange(6), chance.uniform(0, LONGEST_S))
        changes += len(done)
        stored = keyfile.read(folder / "keys.json")  # raises where half of it is there
        ring = door.read(engine.secrets)
        opens = {key.name: key.sha256 for key in ring.keys}
        assert opens["kept"] == keyfile.hash_of(kept) == stored.find("kept").sha256
        assert keyfile.hash_of(leaked) not in opens.values(), "the leaked key is back"
        for name, there in final(done).items():
            if name != "default":  # whose last change may have begun and not been told
                assert (stored.find(name) is not None) == there, (done, stored)
                assert (name in opens) == there, (done, opens)
        settle(engine, folder)
    print(json.dumps({"rounds": rounds, "changes": changes}))


def one_round(number: int, least: int, more_s: float) -> list[tuple[str, bool]]:
    """A child that is killed some time after that many changes; what it said it had done: a key's
    name, and whether it is there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        change_without_end(number, writer)
    os.close(writer)
    with os.fdopen(reader) as said:
        lines = [said.readline() for _ in range(least)]
        time.sleep(more_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        lines += said.readlines()
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(name, there == "in") for name, there in words]


def change_without_end(number: int, writer: int) -> None:
    for change in range(1_000_000):
        name = f"key-{number}-{change}"
        add_key("tiny", name)
        os.write(writer, f"{name} in\n".encode())
        if change % 2:
            revoke_key("tiny", name)
            os.write(writer, f"{name} out\n".encode())
        if change % 3 == 0:
            add_key("tiny", "default")
            os.write(writer, b"default in\n")
            revoke_key("tiny", "default")
            os.write(writer, b"default out\n")
    os._exit(0)


def final(done: list[tuple[str, bool]]) -> dict[str, bool]:
    """What is to be there of the changes that were told, but for the key that was added last: its
    revocation may have begun."""
    sure = dict(done)
    added = [name for name, there in done if there and name != "default"]
    if added and sure[added[-1]]:
        del sure[added[-1]]
    return sure


def settle(engine: Engine, folder: Path) -> None:
    """Whoever comes next can work at once, and what runs then has what is stored."""
    for listed in list_keys("tiny").keys:
        if listed.name.startswith("key-"):
            revoke_key("tiny", listed.name)
    try:
        revoke_key("tiny", "default")
    except DeployctlError as error:
        raise AssertionError(error.message) from error
    published = (engine.secrets / "keys.json").read_bytes()
    assert published == (folder / "keys.json").read_bytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
