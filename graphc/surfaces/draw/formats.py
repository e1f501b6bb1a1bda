"""The table of formats: for each suffix what writes it, and how much it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from graphc.types.errors import DrawError

if TYPE_CHECKING:
    from graphc.surfaces.draw.picture import Picture


class Format(NamedTuple):
    """A format of pictures.

    Attributes
    ----------
    write : callable
        ``picture -> bytes``.
    most : int or None
        How many nodes it takes; None for any number.
    """

    write: Callable[[Picture], bytes]
    most: int | None = None


def _tree(picture: Picture) -> bytes:
    from graphc.surfaces.draw.tree import text

    return (text(picture.diagram) + "\n").encode()


def _dot(picture: Picture) -> bytes:
    from graphc.surfaces.draw.dot import dot

    return dot(picture.diagram).encode()


def _mermaid(picture: Picture) -> bytes:
    from graphc.surfaces.draw.mermaid import mermaid

    return mermaid(picture.diagram).encode()


def _graphml(picture: Picture) -> bytes:
    from graphc.surfaces.draw.interchange import graphml

    return graphml(picture.graph).encode()


def _json(picture: Picture) -> bytes:
    from graphc.surfaces.draw.interchange import to_json

    return to_json(picture.graph).encode()


def _svg(picture: Picture) -> bytes:
    from graphc.surfaces.draw.svg import svg

    return svg(picture.scene).encode()


def _html(picture: Picture) -> bytes:
    from graphc.surfaces.draw.html import page

    return page(picture.content, picture.title).encode()


def _png(picture: Picture) -> bytes:
    from graphc.surfaces.draw.raster import png

    return png(picture.scene)


def _pdf(picture: Picture) -> bytes:
    from graphc.surfaces.draw.raster import pdf

    return pdf(picture.scene)


FORMATS: dict[str, Format] = {
    ".svg": Format(_svg, 2000),
    ".html": Format(_html, 20_000),
    ".png": Format(_png, 2000),
    ".pdf": Format(_pdf, 1000),
    ".mmd": Format(_mermaid, 300),
    ".dot": Format(_dot),
    ".graphml": Format(_graphml),
    ".json": Format(_json),
    ".txt": Format(_tree),
}


def rendered(picture: Picture, suffix: str) -> bytes:
    """Return a picture in the format of a suffix.

    Raises
    ------
    DrawError
        If there is no such format, or the picture has more nodes than it takes.
    MissingPackageError
        If the format needs a package that is not installed.
    """
    form = FORMATS.get(suffix.lower())
    if form is None:
        given = f"{suffix!r} is no suffix of a picture" if suffix else "no suffix"
        raise DrawError(
            f"draw: {given}; its format is chosen by one of {', '.join(FORMATS)}."
        )
    count = picture.boxes(suffix.lower())
    if form.most is not None and count > form.most:
        raise DrawError(_too_many(count, suffix.lower(), form.most))
    return form.write(picture)


def _too_many(count: int, suffix: str, most: int) -> str:
    others = [
        f"{s} (up to {f.most:,})"
        for s, f in FORMATS.items()
        if f.most is not None and f.most >= count
    ]
    others += [s for s, f in FORMATS.items() if f.most is None]
    return (
        f"draw: {count} nodes are too many for {suffix}, which takes {most:,}. Draw a "
        f"part of the graph, or write {', '.join(others[:-1])} or {others[-1]}."
    )
