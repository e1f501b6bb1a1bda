"""A model of the machine, measured once, that turns counts into predicted time.

A kernel takes the longest of three things that run side by side (Williams, Waterman &
Patterson 2009, "Roofline", with one roof for each kind of instruction): computing,
moving elements between cache and registers, and moving its bytes from the memory that
holds the call's arrays. Each instruction that is slower than an addition has a rate of
its own, on vectors and alone; what no loop runs on vectors is as slow as it is alone.
Threads share the parts that a kernel is cut into, and a kernel of one part has one.

A matrix product takes a fixed time, one for each operation, tiles being filled up, and
one for each element it rearranges. A call takes a fixed time, one for each array and
container, and more for large results, whose pages the system makes anew each time.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphc.kernels.cost import SLOW, Item
from graphc.ops.counting import FUNCTIONS
from graphc.types.errors import InputError

FILE = "machine.json"
VERSION = 2

VECTOR = FUNCTIONS | SLOW | {"flop", "load", "store", "sincos"}
SCALAR = VECTOR | {"link", "enter", "reduce"}
"""What times are known of: see `kernels.cost.Item`."""

Seconds = dict[str, dict[str, float]]
"""By what is done, and by the bytes of an element, "4" or "8"."""


class Shape(NamedTuple):
    """The sizes of a matrix product: so many times (m, k) @ (k, n)."""

    times: int
    m: int
    n: int
    k: int


class Work(NamedTuple):
    """What a kernel, product or routine does, in numbers.

    Attributes
    ----------
    kind : str
        "kernel", "product" or "routine".
    dtype : str
        What it computes in, "float32" or "float64".
    flops, transcendentals, bytes : int
    footprint : int
        Bytes that the whole call moves among: which cache they fit into.
    chunks : int
        Parts that threads may share.
    items : mapping of Item to int
        What takes time in a kernel.
    chain : int
        Instructions that wait for one another, in a kernel of one row.
    shape : Shape or None
        Of a product.
    """

    kind: str
    dtype: str
    flops: int
    transcendentals: int
    bytes: int
    footprint: int
    chunks: int
    items: Mapping[Item, int] = {}
    chain: int = 0
    shape: Shape | None = None


class Call(NamedTuple):
    """What a call takes besides its steps.

    Attributes
    ----------
    arguments, results : int
    containers : int
        Lists and the like that results are put into, one plain list left out.
    fresh : int
        Bytes of results whose memory is new each time.
    """

    arguments: int
    results: int
    containers: int
    fresh: int


@dataclass
class ProductRates:
    """Seconds of a matrix product on one thread.

    Attributes
    ----------
    fixed : float
    flop : float
        Of an operation, columns being filled up to whole vectors.
    packed : float
        Of an element of the operands.
    speedup : float
        Of all threads together.
    lanes : int
        Columns that are computed at a time.
    """

    fixed: float
    flop: float
    packed: float
    speedup: float
    lanes: int

    def seconds(self, shape: Shape) -> float:
        """Return the seconds of a product on one thread."""
        times, m, n, k = shape
        columns = -(-n // self.lanes) * self.lanes
        return (
            self.fixed
            + 2.0 * times * m * columns * k * self.flop
            + float(times) * (m * k + k * n) * self.packed
        )


@dataclass
class Machine:
    """What was measured, in seconds and bytes.

    Attributes
    ----------
    processor : str
        Its name and features as LLVM tells them.
    threads : int
    one, all : list of (int, float)
        Bytes that arrays take, and bytes per second for these, of one thread and of
        all.
    vector, scalar : dict
        Seconds of an instruction on one element, in loops that run on vectors, and of
        one by itself.
    products : dict of str to ProductRates
        By dtype.
    speedup : float
        What computing gains by all threads.
    call, argument, result, container : float
        Of a call, and for each array given and returned and container returned.
    launch : float
        What sharing a step among threads takes.
    kept : int
        Bytes of a result up to which the allocator has its memory ready.
    fault : float
        Of a byte of memory that it has not.
    """

    processor: str
    threads: int
    one: list[tuple[int, float]] = field(default_factory=list)
    all: list[tuple[int, float]] = field(default_factory=list)
    vector: Seconds = field(default_factory=dict)
    scalar: Seconds = field(default_factory=dict)
    products: dict[str, ProductRates] = field(default_factory=dict)
    speedup: float = 1.0
    call: float = 0.0
    argument: float = 0.0
    result: float = 0.0
    container: float = 0.0
    launch: float = 0.0
    kept: int = 1 << 62
    fault: float = 0.0

    def predict(self, work: Work) -> float:
        """Return the predicted seconds of a kernel, product or routine."""
        return max(self.parts(work).values()) + (
            self.launch if self._shared(work) else 0.0
        )

    def parts(self, work: Work) -> dict[str, float]:
        """Return the seconds of what runs side by side: the longest decides."""
        table = self.all if self._shared(work) else self.one
        share = self._share(work)
        parts = {"memory": work.bytes / self.bandwidth(table, work.footprint)}
        if work.kind != "kernel":
            parts["computing"] = self._computed(work) * share
            return parts
        moving = computing = links = 0.0
        for item, count in work.items.items():
            taken = count * self.seconds(item)
            if item.what in ("load", "store"):
                moving += taken
            elif item.what == "link":
                links += taken
            else:
                computing += taken
        size = "8" if work.dtype == "float64" else "4"
        chain = links + work.chain * self.scalar["link"][size]
        return {
            **parts,
            "moving": moving * share,
            "computing": computing * share,
            "waiting": chain * share,
        }

    def seconds(self, item: Item) -> float:
        """Return the seconds that an item takes, for one element."""
        table = self.scalar if item.scalar else self.vector
        return table[item.what]["8" if item.itemsize >= 8 else "4"]

    def of_call(self, call: Call) -> float:
        """Return the seconds of a call besides its steps."""
        return (
            self.call
            + call.arguments * self.argument
            + call.results * self.result
            + call.containers * self.container
            + call.fresh * self.fault
        )

    def _shared(self, work: Work) -> bool:
        return work.chunks > 1 and self.threads > 1

    def _share(self, work: Work) -> float:
        """Return the part of the work that decides how long threads take."""
        if not self._shared(work):
            return 1.0
        speedup = self.speedup
        if work.kind == "product":
            speedup = self.products[work.dtype].speedup
        rounds = math.ceil(work.chunks / self.threads) / work.chunks
        return max(rounds, 1.0 / max(speedup, 1.0))

    def _computed(self, work: Work) -> float:
        if work.shape is not None:
            return self.products[work.dtype].seconds(work.shape)
        size = "8" if work.dtype == "float64" else "4"
        calls = work.transcendentals * self.vector["log"][size]
        return work.flops * self.vector["flop"][size] + calls

    @staticmethod
    def bandwidth(table: list[tuple[int, float]], footprint: int) -> float:
        """Return bytes per second for arrays of so many bytes, interpolated."""
        sizes, speeds = zip(*table)
        place = np.log2(max(footprint, 1))
        return float(np.exp2(np.interp(place, np.log2(sizes), np.log2(speeds))))

    @property
    def flops(self) -> float:
        """Operations per second of the fastest matrix product, on all threads."""
        return max(p.speedup / p.flop for p in self.products.values())

    @property
    def busy(self) -> bool:
        """Whether threads gained so little that other programs may have run."""
        gains = [self.speedup, *(p.speedup for p in self.products.values())]
        return self.threads > 1 and min(gains) < 0.7 * self.threads

    def __str__(self) -> str:
        from graphc.surfaces.cost.table import scaled, seconds, text_table

        rows: list[list[Any]] = []
        for label, table in (("1 thread", self.one), ("all threads", self.all)):
            for size, speed in table:
                what = f"bandwidth at {scaled(size, 'B')}, {label}"
                rows.append([what, "", scaled(speed, "B/s")])
        for label, times in (("on vectors", self.vector), ("alone", self.scalar)):
            for what, sizes in times.items():
                cells = [f"{sizes[s] * 1e9:.3g} ns" for s in ("4", "8")]
                rows.append([f"{what} {label}", *cells])
        products = [self.products[d] for d in ("float32", "float64")]
        rows.append(["product", *(seconds(p.fixed) for p in products)])
        rows.append(["its rate", *(scaled(1 / p.flop, "flop/s") for p in products)])
        cells = [f"{p.packed * 1e9:.3g} ns" for p in products]
        rows.append(["each element it rearranges", *cells])
        speedups = [f"{p.speedup:.3g}" for p in products]
        rows.append([f"gain by {self.threads} threads", *speedups])
        rows.append(["that of kernels", "", f"{self.speedup:.3g}"])
        for what in ("call", "argument", "result", "container", "launch"):
            rows.append([what, "", seconds(getattr(self, what))])
        what = f"new memory, results above {scaled(self.kept, 'B')}"
        rows.append([what, "", f"{self.fault * 2**20 * 1e6:.3g} us/MiB"])
        return text_table(("what", "4 bytes", "8 bytes"), rows)


# ---------------------------------------------------------------------- on disk


def machine_file() -> Path | None:
    """Return where the model is kept, None if keeping is off."""
    from graphc.backends.disk_cache import cache_folder

    folder = cache_folder()
    return None if folder is None else folder / FILE


def load() -> Machine | None:
    """Return the model of this processor and number of threads, None without one."""
    return found()[0]


def found() -> tuple[Machine | None, str]:
    """Return the model of this machine, or None and why there is none."""
    from graphc.backends.cpu.cache import machine
    from graphc.backends.cpu.pool import available_threads

    again = "run graphc doctor --calibrate"
    path = machine_file()
    if path is None:
        return None, "models of machines are not kept: the option cache_dir is off"
    try:
        model = _read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None, f"this machine is not measured: {again} once"
    except OSError as error:
        return None, f"cannot read {path}: {error.strerror or error}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, f"{path} is damaged, or another version's: {again}"
    threads = available_threads()
    if model.processor != machine():
        return None, f"another processor was measured: {again}"
    if model.threads != threads:
        return (
            None,
            f"{model.threads} threads were measured, {threads} are used: {again}",
        )
    return model, ""


def _read(data: dict[str, Any]) -> Machine:
    """Return the model that a file's data tell; raise if anything is missing."""
    if data.pop("version") != VERSION:
        raise ValueError("version")
    rates = {d: ProductRates(**data["products"][d]) for d in ("float32", "float64")}
    model = Machine(**{**data, "products": rates})
    for table, names in ((model.vector, VECTOR), (model.scalar, SCALAR)):
        if any(table[name][size] <= 0 for name in names for size in ("4", "8")):
            raise ValueError("rates")
    for bandwidth in (model.one, model.all):
        if not bandwidth or min(size * speed for size, speed in bandwidth) <= 0:
            raise ValueError("bandwidth")
    str(model)
    return model


def save(model: Machine) -> Path | None:
    """Keep a model, whole or not at all; return where, None if keeping is off.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    path = machine_file()
    if path is None:
        return None
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **asdict(model)}, file, indent=1)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise InputError(
            f"calibrate: cannot write {path}: {error.strerror or error}. Set "
            "GRAPHC_CACHE_DIR to a folder that can be written."
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path
