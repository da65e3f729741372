"""The grammar of the command line: every command, flag and its help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never

from specs import extensions
from specs.model import ENGINES, FORMATS, Number

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

COMMANDS: Final = {
    "list": "tui.cli.catalog:list_families",
    "show": "tui.cli.catalog:show_family",
    "fit": "tui.cli.fit:fit",
    "hardware": "tui.cli.hardware:hardware",
    "download": "tui.cli.download:download",
    "pull": "tui.cli.download:download",
    "launch": "tui.cli.launch:launch",
    "library": "tui.cli.library:library",
    "search": "tui.cli.search:search",
    "specs": "tui.cli.specs:specs",
    "bench": "tui.cli.bench:bench",
    "config": "tui.cli.config:config",
    "completion": "tui.cli.completion:completion",
    "doctor": "tui.cli.doctor:doctor",
}
"""Where each command lives; its module is imported when it is called."""

OTHERS_WORDS: Final = {
    "help": "--help",
    "version": "--version",
    "run": "launch",
    "chat": "launch",
    "models": "list",
    "ls": "list",
    "install": "download",
    "get": "download",
    "rm": "library remove",
    "remove": "library remove",
    "delete": "library remove",
    "import": "specs import, or library adopt",
}
"""What other programs of the kind call our commands."""
MOST: Final = 1 << 30
"""Above every number of tokens or runs that means anything."""
KV_CACHE_TYPES: Final = ("f16", "q8_0", "q4_0")
NAME: Final = "a family of the catalog, a path to weights on this disk, or a hub's repository as owner/name"
LIST_COLUMNS: Final = ("name", "sizes", "context", "abilities", "formats", "languages", "license", "source")
SORT_KEYS: Final = ("name", "size", "largest", "context", "abilities", "formats", "languages", "license", "source")
ABILITIES: Final = ("chat", "generate", "tools", "vision", "reasoning", "hybrid", "audio", "omni")


class WrongUsage(Exception):
    """Arguments that make no sense; the text says which and what would. Exit code 2."""

    def __init__(self, message: str, command: str = "modeldeck") -> None:
        super().__init__(message)
        self.command = command


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is raised instead of printed, and names the nearest right word."""

    def error(self, message: str) -> Never:
        import re

        from tui.settings import nearest

        unknown = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if unknown:
            word, choices = unknown[1], tuple(re.findall(r"[^\s',]+", unknown[2]))
            near = (OTHERS_WORDS.get(word) if "launch" in choices else None) or nearest(word, choices)
            message = f"there is no {word!r} here" + (f"; did you mean {near}?" if near else f": {', '.join(choices)}")
        lonely = re.search(r"argument (--\S+): expected one argument", message)
        if lonely:
            action = next(one for one in self._actions if lonely[1] in one.option_strings)
            message = f"{lonely[1]} needs a value"
            message += f": {action.help % {'default': action.default}}" if action.help else ""
        stray = re.search(r"unrecognized arguments: (-\S+)", message)
        if stray:
            flags = tuple(flag for action in self._actions for flag in action.option_strings)
            typed = stray[1].partition("=")[0]
            near = next((flag for flag in flags if flag.startswith(typed)), None)
            near = near or next((flag for flag in flags if flag.endswith(typed[1:])), None) or nearest(typed, flags)
            message += f"; did you mean {near}?" if near else ""
        raise WrongUsage(message, self.prog)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse's own keeps silent where it cannot write, and --help on a full disk would look like success.
        if message and (stream := file or sys.stderr) is not None:
            stream.write(message)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As argparse's, but the command that was called refuses what it does not know, and names flags of its own."""
        parsed, stray = self.parse_known_args(args, namespace)
        if stray:
            self._called(parsed).error(f"unrecognized arguments: {' '.join(stray)}")
        return parsed

    def _called(self, parsed: argparse.Namespace) -> argparse.ArgumentParser:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                inner = action.choices.get(getattr(parsed, action.dest, None) or "")
                if isinstance(inner, _Parser):
                    return inner._called(parsed)
        return self


def size_in_billions(text: str) -> Number:
    """A size as spec files write it: 8, 0.5, 1.8, or 1_8 for 1.8 as the spec pages do."""
    try:
        value = float(text.lower().removesuffix("b").replace("_", ".", 1))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no size in billions; write 8, 0.5 or 1_8")
    return int(value) if value.is_integer() else value


def _columns(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    wrong = next((name for name in names if name not in LIST_COLUMNS), None)
    if wrong is not None or not names:
        from tui.settings import nearest

        near = nearest(wrong or "", LIST_COLUMNS)
        cure = f"did you mean {near}?" if near else f"the columns are {', '.join(LIST_COLUMNS)}"
        raise argparse.ArgumentTypeError(f"there is no column {wrong or text!r}; {cure}")
    return names


def _sort_key(text: str) -> str:
    """A key of SORT_KEYS; the column SIZES is sorted by its smallest."""
    folded = text.lower()
    return "size" if folded == "sizes" else folded


def _count(text: str) -> int:
    cleaned = text.replace(",", "").replace("_", "")
    # By its digits first: Python refuses to read a number of thousands of them.
    if cleaned.isdecimal() and (len(cleaned) > len(str(MOST)) or int(cleaned) > MOST):
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is too large; at most {MOST:,}")
    if not cleaned.isdecimal() or int(cleaned) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(cleaned)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no temperature; write 0 for the most probable answer, or 0.7")
    return value


def parser() -> argparse.ArgumentParser:
    """The whole grammar."""
    top = _Parser(
        prog="modeldeck",
        description="Browse language models, see what runs here, download them, talk to them.\n"
        "Without a command the app opens.",
        epilog=_examples(
            "modeldeck list llama --fits\n"
            "modeldeck fit llama-3-instruct\n"
            "modeldeck fit --machine 'RTX 4090' --model-format awq"
        )
        + "\n\nmodeldeck COMMAND --help shows a command's flags, with examples.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 does not fit, 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("-V", "--version", action="store_true", help="print the version")
    _specs_flag(top, "specs_before")
    _looks_flags(top, plain=False, low_bandwidth=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, what: str, example: str, **more: object) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            epilog=_examples(example),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,  # type: ignore[arg-type]
        )

    one = add(
        "list",
        "list the families of the catalog",
        "modeldeck list llama --fits\n"
        "modeldeck list --sort context --reverse --columns name,context\n"
        "modeldeck list --format mlx --json",
    )
    one.add_argument("query", nargs="?", default="", metavar="QUERY", help="words that all must occur in it")
    one.add_argument("--format", choices=FORMATS, metavar="F", help="only with this format: " + ", ".join(FORMATS))
    one.add_argument(
        "--engine", type=_engine, metavar="E", help="only what this engine takes: " + ", ".join(extensions.engines())
    )
    one.add_argument(
        "--ability", choices=ABILITIES, metavar="A", help="only with this ability: " + ", ".join(ABILITIES)
    )
    one.add_argument("--max-size", type=size_in_billions, metavar="B", help="only up to so many billion parameters")
    one.add_argument("--fits", action="store_true", help="only what runs on this machine")
    one.add_argument("--downloaded", action="store_true", help="only what lies on this disk")
    one.add_argument(
        "--sort",
        type=_sort_key,
        choices=SORT_KEYS,
        metavar="KEY",
        help="the order: " + ", ".join(SORT_KEYS) + "; without it the catalog's",
    )
    one.add_argument("--reverse", action="store_true", help="the other way round")
    one.add_argument(
        "--columns", type=_columns, metavar="A,B", help="these columns in this order: " + ", ".join(LIST_COLUMNS)
    )
    one.add_argument("--url", metavar="URL", help="instead of the catalog, the models of this server")
    one.add_argument("--key-env", metavar="VARIABLE", help="the environment variable that holds the server's key")
    _machine_flag(one)

    one = add(
        "show",
        "show one family with every variant",
        "modeldeck show llama-3-instruct\nmodeldeck show Qwen/Qwen3-0.6B-GGUF",
    )
    one.add_argument("name", metavar="NAME", help=NAME)
    one.add_argument("--hub", choices=extensions.hubs(), help="where NAME is a repository: ask this hub")

    one = add(
        "fit",
        "say what runs here, how far and how fast",
        "modeldeck fit llama-3-instruct --context 32768\nmodeldeck fit --machine rtx-4090 --json",
    )
    one.add_argument("name", nargs="?", metavar="NAME", help=f"{NAME}; the whole catalog without it")
    one.add_argument("--hub", choices=extensions.hubs(), help="where NAME is a repository: ask this hub")
    _variant_flags(one)
    _load_flags(one)
    _machine_flag(one)
    _ray_flag(one)
    one.add_argument(
        "--ask-engine",
        action="store_true",
        help="ask the installed llama.cpp itself for the buffers of weights that are not here: reads their whole "
        "headers from the hub, some megabytes each",
    )
    one.add_argument(
        "--forget",
        action="store_true",
        help="forget what loads here took, so that fits are predicted again; with --model-engine or --model-format "
        "only those",
    )

    one = add("hardware", "show the hardware that was found, and what could not be known", "modeldeck hardware --json")
    _machine_flag(one)

    one = add(
        "download",
        "download the weights of one variant",
        "modeldeck download llama-3-instruct --size-in-billions 8 \\\n    --model-format ggufv2 --quantization Q4_K_M",
        aliases=["pull"],
    )
    one.add_argument("name", metavar="NAME", help="a family of the catalog, or a hub's repository as owner/name")
    _variant_flags(one, engine=False)
    one.add_argument("--hub", choices=extensions.hubs(), help="take it from this hub; the first that lists it without")
    one.add_argument("--dry-run", action="store_true", help="say what would be fetched, and fetch nothing")

    one = add(
        "launch",
        "talk to a model, or stream one answer to standard output",
        "modeldeck launch --model-engine llama.cpp --model-name llama-3-instruct \\\n"
        "    --size-in-billions 8 --model-format ggufv2 --quantization Q4_K_M \\\n"
        "    --prompt 'Why is the sky blue?'\n"
        "git diff | modeldeck launch qwen3 --size-in-billions 4 --quantization Q4_K_M",
    )
    one.add_argument("word", nargs="?", metavar="NAME", help=f"the same as --model-name: {NAME}")
    one.add_argument("--model-name", dest="name", metavar="NAME", help="the model, as spec pages write it")
    _variant_flags(one, server=True)
    one.add_argument("--url", metavar="URL", help="remote: a server with OpenAI's protocol, as http://box:8000/v1")
    one.add_argument("--key-env", metavar="VARIABLE", help="remote: the environment variable that holds its key")
    _load_flags(one)
    _ray_flag(one)
    one.add_argument("--prompt", metavar="TEXT|-", help="one prompt; - reads it from standard input")
    one.add_argument(
        "--conversation", metavar="ID", help="go on with a conversation of the history; its ID's beginning does"
    )
    one.add_argument("--system", metavar="TEXT", help="what the model is told before the prompt")
    one.add_argument("--max-tokens", type=_count, metavar="N", help="stop after so many tokens")
    one.add_argument("--temperature", type=_temperature, metavar="T", help="0: always the most probable token")
    one.add_argument("--seed", type=int, metavar="N", help="the same answer each time")
    one.add_argument("--hub", choices=extensions.hubs(), help="take missing weights from this hub")
    one.add_argument("--yes", action="store_true", help="download what is missing without asking")
    one.add_argument("--force", action="store_true", help="load even what does not fit")
    one.add_argument(
        "--trust-remote-code",
        dest="trusted",
        metavar="OWNER/NAME",
        help="run the Python code that this repository brings, for this one load",
    )

    one = add(
        "library",
        "show, verify, remove or adopt the weights on this disk",
        "modeldeck library\nmodeldeck library verify\n"
        "modeldeck library remove llama-3-instruct/8B/ggufv2/Q4_K_M\n"
        "modeldeck library adopt ~/models/my-model-Q4_K_M.gguf",
    )
    one.add_argument(
        "action",
        nargs="?",
        choices=("scan", "verify", "remove", "adopt"),
        default="scan",
        metavar="scan|verify|remove|adopt",
        help="scan, without a word, says what is there",
    )
    one.add_argument(
        "what",
        nargs="?",
        metavar="VARIANT|PATH",
        help="a name or path as library prints it; for adopt a GGUF file or a folder; verify takes all without it",
    )
    one.add_argument("--name", metavar="NAME", help="adopt: call the family so")
    one.add_argument("--dry-run", action="store_true", help="remove: say what would go, and remove nothing")
    one.add_argument("--yes", action="store_true", help="remove without asking")

    one = add(
        "search",
        "search the hubs for repositories",
        "modeldeck search 'qwen3 gguf'\nmodeldeck search llama --hub modelscope --limit 5 --json",
    )
    one.add_argument("query", metavar="QUERY", help="words as the hubs search them")
    one.add_argument("--hub", choices=extensions.hubs(), help="this hub only")
    one.add_argument("--limit", type=_count, default=20, metavar="N", help="at most so many (%(default)s)")

    one = add(
        "specs",
        "check spec files, add them to the catalog, or make one from a hub's repository",
        "modeldeck specs check my-model.toml\nmodeldeck specs import page.rst\n"
        "modeldeck specs from Qwen/Qwen3-0.6B-GGUF --keep",
    )
    one.add_argument(
        "action",
        choices=("check", "import", "from"),
        metavar="check|import|from",
        help="say what is wrong with which line, add to the catalog, or make one from a repository",
    )
    one.add_argument(
        "files", nargs="+", metavar="FILE|REPOSITORY", type=Path, help="spec files; for from a repository, owner/name"
    )
    one.add_argument("--hub", choices=extensions.hubs(), help="from: ask this hub; the first that has it without")
    one.add_argument("--revision", metavar="R", help="from: this branch, tag or commit")
    one.add_argument("--keep", action="store_true", help="from: add it to the catalog as a spec file")
    one.add_argument("--name", metavar="NAME", help="from: call the family so")
    _load_flags(one)
    _machine_flag(one)

    one = add(
        "bench",
        "measure prefill and decode speed of downloaded weights",
        "modeldeck bench llama-3-instruct --size-in-billions 8 \\\n    --model-format ggufv2 --quantization Q4_K_M",
    )
    one.add_argument("name", metavar="NAME", help=NAME)
    one.add_argument("--hub", choices=extensions.hubs(), help="where NAME is a repository: ask this hub")
    _variant_flags(one)
    _load_flags(one)
    one.add_argument(
        "--prompt-tokens", type=_count, default=512, metavar="N", help="prefill about so many (%(default)s)"
    )
    one.add_argument("--max-tokens", type=_count, default=128, metavar="N", help="decode so many (%(default)s)")
    one.add_argument(
        "--runs", type=_count, default=3, metavar="N", help="take the median of so many runs (%(default)s)"
    )

    one = add(
        "config",
        "show the settings that are in force, or write the commented file",
        "modeldeck config\nmodeldeck config --init\nMODELDECK_CONTEXT=4096 modeldeck config --json",
    )
    one.add_argument("--init", action="store_true", help="write the commented file, unless there is one")
    one.add_argument("--example", action="store_true", help="print the commented file")
    one.add_argument("--keys", action="store_true", help="list what can stand under [keys]: every binding ID")

    one = add(
        "completion",
        "print a script that completes commands, flags, families and quantizations",
        "modeldeck completion bash \\\n    > ~/.local/share/bash-completion/completions/modeldeck\n"
        "modeldeck completion zsh > ~/.zfunc/_modeldeck\n"
        "modeldeck completion fish > ~/.config/fish/completions/modeldeck.fish",
    )
    one.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="bash|zsh|fish", help="the shell to write for")

    add("doctor", "print one report for a bug report, without secrets", "modeldeck doctor\nmodeldeck doctor --json")
    for name, command in commands.choices.items():
        if name != "pull":  # the same grammar as download's
            _common_flags(command, json=name != "completion")
    return top


def _examples(lines: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines.splitlines())


def _common_flags(to: argparse.ArgumentParser, *, json: bool) -> None:
    """The flags of every command, below those of its own."""
    group = to.add_argument_group("with every command")
    if json:
        group.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    _specs_flag(group, "specs")
    _looks_flags(group, plain=argparse.SUPPRESS, low_bandwidth=argparse.SUPPRESS)


def _specs_flag(to: argparse._ActionsContainer, target: str) -> None:
    to.add_argument(
        "--specs",
        dest=target,
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="add spec files for this call: a file or a folder; may be given more than once",
    )


def _looks_flags(to: argparse._ActionsContainer, *, plain: bool | str, low_bandwidth: bool | str) -> None:
    """Flags that may stand before the command or after it; a suppressed default leaves what stood before."""
    to.add_argument(
        "--plain",
        action="store_true",
        default=plain,
        help="lines only: no full screen, no colours, no cursor movement; chats line by line",
    )
    to.add_argument(
        "--low-bandwidth",
        action="store_true",
        default=low_bandwidth,
        help="the app over a slow line: fewer repaints, no animations, no hover",
    )


def _engine(text: str) -> str:
    known = extensions.engines()
    folded = {engine.lower(): engine for engine in known} | {"llama-cpp": ENGINES[0], "llamacpp": ENGINES[0]}
    if text.lower() not in folded:
        raise argparse.ArgumentTypeError(f"there is no engine {text!r}; the engines are {', '.join(known)}")
    return folded[text.lower()]


def _engine_or_remote(text: str) -> str:
    return "remote" if text.lower() == "remote" else _engine(text)


def _variant_flags(to: argparse.ArgumentParser, *, engine: bool = True, server: bool = False) -> None:
    to.add_argument(
        "--size-in-billions", type=size_in_billions, dest="size", metavar="B", help="the size: 8, 0.5 or 1_8 for 1.8"
    )
    to.add_argument(
        "--model-format", choices=FORMATS, dest="format", metavar="F", help=f"the format: {', '.join(FORMATS)}"
    )
    to.add_argument("--quantization", metavar="Q", help="the quantization, as show NAME lists them")
    to.add_argument("--model-id", metavar="ID", help="where two repositories publish the same variant")
    if engine:
        names = ", ".join((*extensions.engines(), "remote") if server else extensions.engines())
        kind = _engine_or_remote if server else _engine
        to.add_argument("--model-engine", type=kind, dest="engine", metavar="E", help=f"the engine: {names}")


def _load_flags(to: argparse.ArgumentParser) -> None:
    to.add_argument("--context", type=_count, metavar="N", help="tokens that one conversation may hold")
    to.add_argument(
        "--kv-cache-type", choices=KV_CACHE_TYPES, metavar="T", help=f"the KV cache's type: {', '.join(KV_CACHE_TYPES)}"
    )


def _ray_flag(to: argparse.ArgumentParser) -> None:
    to.add_argument("--ray-address", metavar="HOST:PORT", help="vLLM: on the cards of this Ray cluster; auto finds it")


def _machine_flag(to: argparse.ArgumentParser) -> None:
    to.add_argument("--machine", metavar="FILE|PRESET", help="judge for another machine than this one")
