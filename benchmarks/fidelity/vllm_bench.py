"""`vllm bench serve` where its command does not start: the CPU package lacks the metadata of
the name `vllm` that the command asks for. The same code, started past that question."""

import sys

if __name__ == "__main__":
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args(sys.argv[1:]))
