"""Pictures of graphs, and graphs for other programs; `formats` lists the formats."""

from graphc.surfaces.draw.interchange import to_networkx
from graphc.surfaces.draw.picture import Picture, draw

__all__ = ["Picture", "draw", "to_networkx"]
