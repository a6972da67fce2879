"""vLLM's own API server, as `vllm serve` runs it, over a double of its engine core.

    DOOR_INTERVAL_S=0.02 python -m benchmarks.door.api --model DIR --port PORT …

Nothing of vLLM is replaced in this process: it is told that its engine is started by somebody else,
as each of several API servers of an engine is (vllm/v1/utils.py, APIServerProcessManager).
"""

import multiprocessing
import tempfile
from argparse import Namespace

import uvloop
from benchmarks.door import core
from benchmarks.door.app import INTERVAL_S
from transformers import AutoTokenizer
from vllm.entrypoints.launchers.api_server.entry import run_server_worker
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import setup_server
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
from vllm.logger import configure_logging_from_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.system_utils import decorate_logs

WORD = " word"  # the text of each token


def arguments() -> Namespace:
    """Those of the command line, as vllm/entrypoints/launchers/api_server/entry.py reads them."""
    cli_env_setup()
    found = make_arg_parser(FlexibleArgumentParser()).parse_args()
    configure_logging_from_args(found)
    validate_parsed_serve_args(found)
    return found


def main() -> None:
    """Serves until it is told to stop."""
    given = arguments()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    token, *_ = tokenizer.encode(WORD, add_special_tokens=False)
    with tempfile.TemporaryDirectory(prefix="door-core-") as folder:
        addresses = {name: f"ipc://{folder}/{name}" for name in ("input_address", "output_address")}
        double = core.Core(INTERVAL_S, token)
        multiprocessing.get_context("fork").Process(
            target=core.serve, args=(*addresses.values(), double), daemon=True
        ).start()
        decorate_logs("APIServer", skip_if_decorated=True)
        listen_address, sock = setup_server(given, reuse_port=False)
        uvloop.run(run_server_worker(listen_address, sock, given, addresses))


if __name__ == "__main__":
    main()
