"""Pictures of graphs: text, Graphviz's language, SVG and PNG."""

from graphc.surfaces.draw.picture import Picture, draw

__all__ = ["Picture", "draw"]
