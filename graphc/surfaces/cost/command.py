"""``graphc compare``: a report of modes for what a module or a file names."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc.expressions.containers import flatten_expressions
from graphc.graph.node import Node
from graphc.surfaces.cost.compare import compare_modes
from graphc.surfaces.cost.count import given_sizes
from graphc.surfaces.cost.modes import inputs_of
from graphc.surfaces.draw.files import write_atomically
from graphc.types import sizes
from graphc.types.errors import InputError

PICTURES = (".png", ".svg", ".pdf")


def run(
    subject: Any,
    wrt: str,
    given: Sequence[str],
    *,
    measure: bool = False,
    dense: bool = False,
    as_json: bool = False,
    picture: str | None = None,
) -> None:
    """Print the comparison, and draw it if a file is named.

    Parameters
    ----------
    subject : expression or nested containers of them
    wrt : str
        The name of the input to differentiate by.
    given : sequence of str
        Sizes as ``name=number``.
    measure, dense, as_json : bool
    picture : str, optional

    Raises
    ------
    InputError
        If no input, or more than one, has that name; if sizes are unusable; if the
        picture has another suffix than `PICTURES`.
    """
    if picture is not None and Path(picture).suffix not in PICTURES:
        raise InputError(f"--plot {picture}: the file must end in .png, .svg or .pdf.")
    nodes, _ = flatten_expressions(subject, "the subject")
    inputs = inputs_of(nodes)
    found = [n for n in inputs if n.name == wrt]
    if len(found) != 1:
        names = ", ".join(repr(n.name) for n in inputs) or "none"
        many = "no input is" if not found else "more than one input is"
        raise InputError(f"{many} named {wrt!r}; the inputs are: {names}.")
    wanted = _sizes(given)
    seeds = "dense" if dense else "identity"
    if measure:
        at = _random(inputs, wanted)
        report = compare_modes(subject, found[0], at=at, seeds=seeds)
    else:
        report = compare_modes(subject, found[0], sizes=wanted or None, seeds=seeds)
    print(json.dumps(report.to_dict(), indent=1) if as_json else report)
    if picture is not None:
        figure = report.plot().figure
        content = io.BytesIO()
        figure.savefig(content, format=Path(picture).suffix[1:])
        write_atomically(Path(picture), content.getvalue())


def _sizes(given: Sequence[str]) -> dict[str, int]:
    out = {}
    for text in given:
        name, _, number = text.partition("=")
        if not name or not number.isdecimal():
            raise InputError(f"--size {text}: write it as n=100.")
        out[name] = int(number)
    return out


def _random(inputs: Sequence[Node], wanted: dict[str, int]) -> dict[Node, Any]:
    dims = list({d: None for n in inputs for s in n.shape for d in sizes.dims(s)})
    values = given_sizes(wanted, dims, "--measure")
    rng = np.random.default_rng(0)
    return {
        n: rng.normal(
            size=[sizes.evaluate(s, values.__getitem__) for s in n.shape]
        ).astype(n.dtype)
        for n in inputs
    }
