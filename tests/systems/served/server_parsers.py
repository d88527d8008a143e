"""Ask a server's own parser about command lines; runs in the server's interpreter, standard library only.

``python server_parsers.py SERVER`` reads a JSON list of ``{"argv": ..., "files": ...}`` and prints one with
what the server says against each, empty where it accepts it.
"""

import argparse
import importlib
import json
import sys


class Refused(Exception):
    pass


def argparse_of(parser, skip):
    def refuse(message):
        raise Refused(message)

    parser.error = refuse

    def ask(argv, files):
        parser.parse_args(argv[skip:])

    return ask


def vllm():
    for place in ("common", "launchers", "openai"):  # of 0.33, of those before, of the first
        try:
            cli_args = importlib.import_module(f"vllm.entrypoints.{place}.cli_args")
            break
        except ModuleNotFoundError:
            continue
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    return argparse_of(cli_args.make_arg_parser(parser), 2)


def sglang():
    parser = argparse.ArgumentParser()
    importlib.import_module("sglang.srt.server_args").ServerArgs.add_cli_args(parser)
    return argparse_of(parser, 3)


def openvino():
    genai, runtime = importlib.import_module("openvino_genai"), importlib.import_module("openvino")

    def ask(argv, files):
        pairs = dict(zip(argv[1::2], argv[2::2], strict=True))
        runtime.Core().set_property("CPU", json.loads(pairs.get("--plugin_config", "{}")))
        scheduler = genai.SchedulerConfig()
        for name, value in pairs.items():
            field = name.removeprefix("--")
            if hasattr(scheduler, field):
                setattr(
                    scheduler,
                    field,
                    {"true": True, "false": False}.get(value) if value in ("true", "false") else int(value),
                )

    return ask


def triton():
    text_format = importlib.import_module("google.protobuf.text_format")
    message = importlib.import_module("tritonclient.grpc.model_config_pb2").ModelConfig

    def ask(argv, files):
        text_format.Parse(files["config.pbtxt"], message())

    return ask


def main():
    ask, answers = globals()[sys.argv[1]](), []
    for case in json.load(sys.stdin):
        try:
            ask(case["argv"], case["files"])
            answers.append("")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the server raises is its answer
            answers.append(f"{type(error).__name__}: {error}")
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
