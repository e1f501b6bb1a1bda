"""The command line: ``graphc demo``, ``draw``, ``compare``, ``bench`` and the like."""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphc import __version__
from graphc.types.errors import DrawError, GraphcError, InputError

_NAMED = re.compile(r"[^()\[\]{}+*@;=]*(?::[\w.]*|\.py)")
"""What names an expression in a file or module, and is no expression itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of this process.

    Returns
    -------
    int
        0, or 1 if the command failed with a message on the standard error output.
    """
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except GraphcError as error:
        text = str(error).removeprefix(f"{parsed.command}: ")
        print(f"graphc {parsed.command}: {text}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; Python would complain at exit
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graphc", description="A symbolic computation-graph compiler."
    )
    parser.add_argument("--version", action="version", version=f"graphc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser("demo", help="train a network on handwritten digits")
    demo.add_argument(
        "--out", default="graphc-demo", metavar="FOLDER", help="for the pictures"
    )
    demo.add_argument("--epochs", type=_positive, default=40)
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--backend", choices=("cpu", "cuda", "reference"), default="cpu")
    demo.set_defaults(run=_demo)

    draw = commands.add_parser(
        "draw",
        help="draw an expression or compiled function",
        description="Draw what a Python file or module names, or an expression given "
        "as text: graphc draw 'sum((A @ x - b)**2)' --shape A=3,4 --shape x=4 "
        "--shape b=3 -o picture.html",
    )
    draw.add_argument(
        "subject",
        metavar="SUBJECT",
        help="file.py:name, module:name, or the text of an expression",
    )
    draw.add_argument(
        "place", nargs="?", metavar="FILE", help="where to; the same as -o"
    )
    draw.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="where to; the suffix chooses the format. Without it, a tree is printed",
    )
    draw.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="an input of a text expression: A=3,4 or x=n or c= for a scalar",
    )
    draw.add_argument("--dtype", default="float64", help="of the inputs (%(default)s)")
    draw.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of an input, such as x=-1 or A=[[1,2],[3,4]]; with one for each, "
        "pictures show values and gradients, and .html plays and times them",
    )
    draw.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a symbolic size, by which .html colours costs",
    )
    draw.set_defaults(run=_draw)

    compare = commands.add_parser(
        "compare", help="compare what the ways to a Jacobian cost"
    )
    compare.add_argument(
        "subject", metavar="MODULE_OR_FILE:NAME", help="the result, such as model.py:y"
    )
    compare.add_argument("wrt", help="name of the input to differentiate by")
    compare.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a symbolic size; may be repeated",
    )
    compare.add_argument(
        "--measure",
        action="store_true",
        help="run each way too, on random normal numbers",
    )
    compare.add_argument(
        "--dense",
        action="store_true",
        help="sweeps start from any matrices, not from identities whose zeros are "
        "skipped",
    )
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.add_argument("--plot", metavar="FILE", help="a picture: .png, .svg, .pdf")
    compare.set_defaults(run=_compare)

    bench = commands.add_parser("bench", help="compare speed with installed peers")
    bench.add_argument(
        "--workload",
        action="append",
        metavar="PATTERN",
        help="such as network_*; may be repeated; by default all",
    )
    bench.add_argument(
        "--peers", metavar="A,B", help="such as numpy,jax; by default those installed"
    )
    bench.add_argument(
        "--rounds", type=_positive, default=5, help="turns of each peer (%(default)s)"
    )
    bench.add_argument(
        "--seconds", type=_seconds, default=0.2, help="of a turn (%(default)s)"
    )
    bench.add_argument(
        "--backend", choices=("cpu", "cuda"), default="cpu", help="where all run"
    )
    bench.add_argument("--json", metavar="FILE", help="for the numbers")
    bench.add_argument("--table", metavar="FILE", help="for the text that is shown")
    bench.add_argument("--list", action="store_true", help="list the workloads")
    bench.set_defaults(run=_bench)

    doctor = commands.add_parser("doctor", help="report versions, threads, BLAS, cache")
    doctor.add_argument(
        "--calibrate",
        action="store_true",
        help="measure this machine once, for predictions of time",
    )
    doctor.set_defaults(run=_doctor)

    cache = commands.add_parser("cache", help="show or clear the compiled kernels")
    cache.add_argument("action", nargs="?", choices=("show", "clear"), default="show")
    cache.set_defaults(run=_cache)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 3600:
        raise argparse.ArgumentTypeError(f"{text} is no time of a turn")
    return number


def _bench(parsed: argparse.Namespace) -> None:
    import json

    from graphc.surfaces import bench

    if parsed.list:
        for name, workload in bench.WORKLOADS.items():
            print(f"{name:<18}{workload.summary}")
        return
    shown: list[str] = []

    def show(text: str) -> None:
        print(text, flush=True)
        shown.append(text)

    results = bench.run(
        parsed.workload or ["*"],
        None if parsed.peers is None else parsed.peers.split(","),
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        show=show,
        backend=parsed.backend,
    )
    if parsed.json:
        _write(parsed.json, json.dumps(results, indent=1) + "\n")
    if parsed.table:
        _write(parsed.table, "\n".join(shown) + "\n")


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}.") from None


def _demo(parsed: argparse.Namespace) -> None:
    from graphc.surfaces.demo import run

    run(
        Path(parsed.out),
        epochs=parsed.epochs,
        seed=parsed.seed,
        backend=parsed.backend,
    )


def _draw(parsed: argparse.Namespace) -> None:
    from graphc.surfaces.draw import draw

    if parsed.place and parsed.out:
        raise DrawError(f"two files are given, {parsed.place} and {parsed.out}.")
    out = parsed.out or parsed.place
    at = {name: _value(name, text) for name, text in _pairs("--at", parsed.at)}
    sizes = {name: _size(name, text) for name, text in _pairs("--size", parsed.size)}
    picture = draw(_subject(parsed), out, at=at or None, sizes=sizes)
    if out is not None:
        print(f"{out}: {len(picture.graph)} nodes")
    elif not _print_in_colour(picture):
        if hasattr(sys.stdout, "reconfigure"):  # a terminal without such characters
            sys.stdout.reconfigure(errors="replace")
        print(picture.tree)


MOST_LINES = 500
"""Of a tree that is printed on a terminal."""


def _print_in_colour(picture: Any) -> bool:
    """Print a tree with rich if it is installed and somebody looks; else return False.

    rich itself heeds NO_COLOR and TERM.
    """
    if not sys.stdout.isatty():
        return False
    from graphc.surfaces.draw.tree import rich_trees
    from graphc.types.errors import MissingPackageError

    try:
        trees, left_out = rich_trees(picture.diagram, MOST_LINES)
    except MissingPackageError:
        return False
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for tree in trees:
        console.print(tree)
    if left_out:
        console.print(f"... and {left_out} lines more; -o graph.html shows all.")
    return True


def _subject(parsed: argparse.Namespace) -> Any:
    """Return what is to be drawn: named by a module, or described by text."""
    if not parsed.shape and _NAMED.fullmatch(parsed.subject):
        return load(parsed.subject)
    from graphc.surfaces.expression_text import inputs_of, parse

    shapes = dict(_pairs("--shape", parsed.shape))
    return parse(parsed.subject, inputs_of(shapes, parsed.dtype))


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """Return what NAME=VALUE options say, each name once."""
    out: dict[str, str] = {}
    example = {"--shape": "A=3,4", "--at": "x=-1", "--size": "n=64"}[option]
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name.strip() in out:
            fault = "is given twice" if equals else "is not of the form NAME=VALUE"
            raise InputError(f"{option} {text} {fault}, such as {example}.")
        out[name.strip()] = value
    return list(out.items())


def _value(name: str, text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(
            f"--at {name}={text} is no number or list of numbers, such as x=-1 or "
            "A=[[1,2],[3,4]]. Large arrays: cg.draw(..., at={...}) in Python."
        ) from None


def _size(name: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise InputError(f"--size {name}={text} is no integer, such as n=64.")
    return int(text)


def _compare(parsed: argparse.Namespace) -> None:
    from graphc.surfaces.cost.command import run

    run(
        load(parsed.subject),
        parsed.wrt,
        parsed.size,
        measure=parsed.measure,
        dense=parsed.dense,
        as_json=parsed.json,
        picture=parsed.plot,
    )


def _doctor(parsed: argparse.Namespace) -> None:
    if parsed.calibrate:
        from graphc.surfaces.cost import calibrate, machine

        model = calibrate.calibrate()
        path = machine.save(model)
        print(model)
        print(f"kept in {path}" if path else "not kept: the option cache_dir is off")
        if model.busy:
            print(
                "threads gained little here: if other programs ran meanwhile, measure "
                "again without them"
            )
        return
    from graphc.surfaces.doctor import report

    print(report())


def _cache(parsed: argparse.Namespace) -> None:
    from graphc.backends.disk_cache import cache_folder, cache_size, clear_cache

    folder = cache_folder()
    if folder is None:
        print("compiled kernels are not kept: the option cache_dir is off")
    elif parsed.action == "clear":
        print(f"{folder}: {clear_cache()} kernels deleted")
    else:
        kernels, size = cache_size()
        print(f"{folder}: {kernels} kernels, {size / 1e6:.1f} MB")


def load(subject: str) -> Any:
    """Return what ``module:name`` or ``file.py:name`` names.

    Raises
    ------
    DrawError
        If there is no such module, file or name, or it cannot be imported.
    """
    place, colon, name = subject.rpartition(":")
    if not colon:
        place, name = subject, ""
    if not place:
        raise DrawError(
            f"{subject!r} does not name an expression; write module:name or "
            "file.py:name."
        )
    value = module = _import(place)
    if not name:
        raise DrawError(
            f"{subject!r} does not name an expression; write module:name or "
            f"file.py:name.{_drawable(module, '')}"
        )
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise DrawError(
                f"{place} has no {name}.{_drawable(module, name)}"
            ) from None
    if inspect.isfunction(value):
        raise DrawError(
            f"{name} is a Python function. Draw what it returns: write y = {name}(...) "
            f"on expressions into {place}, and draw y."
        )
    return value


def _drawable(module: Any, wanted: str) -> str:
    """Return a sentence of the names in a module that can be drawn, near ones first."""
    from graphc.graph.node import Node
    from graphc.runtime.function import Function

    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, (Node, Function)) and not name.startswith("_")
    ]
    near = difflib.get_close_matches(wanted, names)
    names = [*near, *(n for n in reversed(names) if n not in near)][:8]
    return f" It has {', '.join(names)}." if names else ""


def _import(place: str) -> Any:
    if place.endswith(".py") and not Path(place).is_file():
        raise DrawError(f"there is no file {place}.")
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, "")  # as python -m does
            try:
                return importlib.import_module(place)
            finally:
                sys.path.remove("")
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(Path(place).resolve().parent))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
        return module
    except GraphcError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise DrawError(
            f"importing {place} failed: {type(error).__name__}: {error} "
            f"(at {Path(frame.filename).name}:{frame.lineno})."
        ) from error
