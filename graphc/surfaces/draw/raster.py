"""Pictures as PNG and PDF, rendered by matplotlib without its global state."""

from __future__ import annotations

import io
import warnings
from typing import Any

from graphc.surfaces.draw import scene as s
from graphc.surfaces.draw.diagram import Box
from graphc.surfaces.draw.scene import Path, Scene
from graphc.types.errors import DrawError, MissingPackageError

SCALE = 1.6
"""Pixels for each unit of the scene, of small scenes."""
LEAST_SCALE = 0.7
"""Below this many, text is no longer readable."""
MAX_SIDE = 32_000
MAX_PIXELS = 80_000_000
MAX_PAGE = 14_400.0
"""Points; readers of PDF take no larger page, so larger scenes are scaled down."""
LINE_WIDTH = 1.3


def png(scene: Scene) -> bytes:
    """Return a scene as the bytes of a PNG file, on white.

    Raises
    ------
    MissingPackageError
        If matplotlib is not installed.
    DrawError
        If the scene is so large that its text would be unreadable.
    """
    w, h = scene.width, scene.height
    scale = min(SCALE, MAX_SIDE / max(w, h), (MAX_PIXELS / (w * h)) ** 0.5)
    figure = _figure(scene, ".png")
    if scale < LEAST_SCALE:
        raise DrawError(
            f"draw: a readable .png of {len(scene.boxes)} nodes would have more than "
            f"{MAX_PIXELS // 1_000_000} million pixels. Write .svg or .html, which "
            "have no limit of that kind."
        )
    target = io.BytesIO()
    _save(figure, target, "png", 72.0 * scale, pil_kwargs={"compress_level": 3})
    return target.getvalue()


def pdf(scene: Scene) -> bytes:
    """Return a scene as the bytes of a PDF file of one page: vectors, not pixels.

    Raises
    ------
    MissingPackageError
        If matplotlib is not installed.
    """
    figure = _figure(scene, ".pdf", min(1.0, MAX_PAGE / max(scene.width, scene.height)))
    target = io.BytesIO()
    # without a date, so that a picture drawn twice is the same file
    _save(figure, target, "pdf", 72.0, metadata={"CreationDate": None})
    return target.getvalue()


def _figure(scene: Scene, suffix: str, scale: float = 1.0) -> Any:
    """Return the drawn figure; one unit of the scene is `scale` points."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            f"draw: {suffix} needs matplotlib: pip install 'graphc[plot]'. Without it, "
            ".svg shows the same picture."
        ) from error
    w, h = scene.width, scene.height
    figure = Figure(figsize=(w * scale / 72, h * scale / 72), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, w)
    axes.set_ylim(h, 0)
    axes.axis("off")
    line = LINE_WIDTH * scale
    for color, route in scene.edges:
        _add(axes, s.edge_path(route), edgecolor=color, fill=False, linewidth=line)
        _add(axes, s.arrow(route), facecolor=color, linewidth=0)
    for box, x, y, width, height in (*scene.boxes, *scene.legend):
        _add_box(axes, box, (x, y, width, height), scale)
    for mark in scene.marks:
        axes.text(
            mark.x,
            mark.y,
            mark.text,
            color=mark.color,
            fontsize=s.MARK_SIZE * scale,
            family="DejaVu Sans Mono",
            ha="right" if mark.left else "left",
            va="baseline",
            parse_math=False,
        )
    return figure


def _save(figure: Any, target: io.BytesIO, kind: str, dpi: float, **more: Any) -> None:
    with warnings.catch_warnings():
        # A name may use characters that the bundled font lacks; they become boxes.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        figure.savefig(target, format=kind, dpi=dpi, **more)


def _add_box(
    axes: Any, box: Box, place: tuple[float, float, float, float], scale: float
) -> None:
    x, y, w, h = place
    line = LINE_WIDTH * scale
    style = s.STYLES[box.kind]
    _add(
        axes,
        s.outline(box.kind, x, y, w, h),
        facecolor=style.fill,
        edgecolor=style.border,
        linewidth=line,
        linestyle=(0, style.dash) if style.dash else "solid",
    )
    if box.is_output:
        ring = s.outline(box.kind, *s.ring(x, y, w, h))
        _add(axes, ring, edgecolor=style.border, fill=False, linewidth=line)
    for text, ty, is_title in s.lines(box, y):
        axes.text(
            x + w / 2,
            ty,
            text,
            color=s.TEXT,
            fontsize=s.FONT_SIZE * scale,
            family="DejaVu Sans Mono",
            weight="bold" if is_title else "normal",
            ha="center",
            va="baseline",
            parse_math=False,
        )


def _add(axes: Any, path: Path, **style: Any) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as MatplotlibPath

    codes = {"M": (1,), "L": (2,), "C": (4, 4, 4), "Z": (79,)}
    points: list[tuple[float, ...]] = []
    kinds: list[int] = []
    for command, numbers in path:
        kinds += codes[command]
        pairs = list(zip(numbers[::2], numbers[1::2]))
        points += pairs or [(0.0, 0.0)]
    axes.add_artist(PathPatch(MatplotlibPath(points, kinds), **style))
