"""python3 -m deployctl_door: looks, before an engine loads for minutes, whether its door will open.

Makes the probe's token, and forgets the drain of a former run. Exits with 78 (EX_CONFIG) and one
line where the configuration or the keys cannot be read.
"""

import os
import sys
from pathlib import Path

from deployctl_door import keys, probe, underway
from deployctl_door.configuration import VARIABLE, ConfigurationError, load


def main() -> str | None:
    """Returns what is wrong, or None."""
    try:
        configuration = load(Path(os.environ.get(VARIABLE, "")))
        keys.read(
            configuration.secrets,
            keyless=configuration.keyless,
            processes=configuration.processes,
        )
        if configuration.drain_file is not None:
            configuration.drain_file.unlink(missing_ok=True)
        if configuration.counts is not None:
            underway.forget(configuration.counts)
        if configuration.probe_token is not None:
            probe.make(configuration.probe_token)
    except (ConfigurationError, keys.KeysError, OSError) as error:
        return str(error)
    return None


if __name__ == "__main__":
    if (problem := main()) is not None:
        print(f"deployctl: the door does not open: {problem}", file=sys.stderr)
        sys.exit(78)
