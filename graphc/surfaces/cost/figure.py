"""What the plots of reports share: axes, colours, and lines told apart without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.types.errors import MissingPackageError

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""Those of Okabe & Ito (2008), which people of any colour vision tell apart."""

MARKERS = "osD^vP*"
STYLES = ("-", "--", "-.", ":")


def axes(ax: Any, what: str, width: float = 7) -> Any:
    """Return the axes given, or those of a new figure.

    Raises
    ------
    MissingPackageError
        Without matplotlib.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            f"{what}: .plot() needs matplotlib: pip install 'graphc[plot]'. The table "
            "and .to_dict() need nothing."
        ) from error
    return Figure(figsize=(width, 4.5), layout="constrained").add_subplot()


def lines(ax: Any, x: Sequence[float], series: Mapping[str, Sequence[Any]]) -> None:
    """Draw a line for each series, each with a colour and a marker, and a legend."""
    for number, (label, values) in enumerate(series.items()):
        ax.plot(
            x,
            values,
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            linestyle=STYLES[number % len(STYLES)],
            label=label,
        )
    ax.grid(alpha=0.3)
    if len(series) > 1:
        ax.legend()


def log_scales(ax: Any, x: Sequence[float], y: Sequence[float]) -> None:
    """Use logarithmic scales where all is above zero and spans more than tenfold."""
    if min(x, default=0) > 0 and max(x) > 10 * min(x):
        ax.set_xscale("log")
    if min(y, default=0) > 0 and max(y) > 10 * min(y):
        ax.set_yscale("log")


def bound_line(ax: Any, bound: float, source: str) -> None:
    """Draw a bound as a dashed line from edge to edge, with what it is from."""
    ax.axhline(bound, color="black", linestyle="--", label=f"bound {bound:g}, {source}")
    ax.set_ylim(0, max(bound * 1.15, ax.get_ylim()[1]))
    ax.legend(loc="lower right")
