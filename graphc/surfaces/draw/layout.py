"""Layered layout of a directed acyclic graph (Sugiyama, Tagawa and Toda, 1981).

Knows integers and sizes only. Four steps: layers by longest path; long edges
become chains of bends, one chain for all edges of a source; order within layers by
barycenters and exchanges of neighbours; positions by sweeps in which every layer
takes the places nearest to its neighbours' that keep the distances, a problem of
isotonic regression, solved exactly by pooling adjacent violators. No step recurses.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Point = tuple[float, float]

NODE_GAP = 24.0
BEND_GAP = 12.0
LAYER_GAP = 34.0
MAX_BENDS = 20_000
"""Edges beyond this many bends, the longest first, are drawn without."""


class Edge(NamedTuple):
    """From `source` to the place `port` (0 to 1 along its top) of `target`."""

    source: int
    target: int
    port: float = 0.5


@dataclass
class Layout:
    """Where nodes and edges lie; y grows downwards.

    Attributes
    ----------
    centers : list of (float, float)
        The center of each node.
    routes : list of list of (float, float)
        For each edge its points: between the 1st and 2nd, 3rd and 4th, ... it
        is straight down through layers, between the others it passes a gap.
    width, height : float
        All lies within ``0 <= x <= width`` and ``0 <= y <= height``.
    """

    centers: list[Point] = field(default_factory=list)
    routes: list[list[Point]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def layered(
    widths: Sequence[float],
    heights: Sequence[float],
    edges: Sequence[Edge],
    margin: tuple[float, float] = (0.0, 0.0),
) -> Layout:
    """Return a layout from top to bottom.

    Parameters
    ----------
    widths, heights : sequence of float
        Of the nodes, which are numbered such that every edge goes from a smaller
        number to a larger one.
    edges : sequence of Edge
    margin : (float, float), optional
        Room kept free beside each node and above those at which edges arrive, where
        these go straight down: for what is written at their ends.
    """
    if not widths:
        return Layout()
    side, head = margin
    targets = {e.target for e in edges}
    heads = [head if n in targets else 0.0 for n in range(len(widths))]
    wide = [w + 2 * side for w in widths]
    moved = [
        e._replace(port=0.5 + (e.port - 0.5) * widths[e.target] / wide[e.target])
        for e in edges
    ]
    layer = _assign_layers(len(widths), moved)
    grid = _Grid(wide, moved, layer)
    _reduce_crossings(grid)
    x = _place(grid)
    return _finish(grid, x, [h + t for h, t in zip(heights, heads)], moved, heads)


def _assign_layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """Return layers by longest path; what needs little else goes down to its users."""
    arguments: list[list[int]] = [[] for _ in range(count)]
    users: list[list[int]] = [[] for _ in range(count)]
    for e in edges:
        arguments[e.target].append(e.source)
        users[e.source].append(e.target)
    layer = [0] * count
    for node in range(count):
        layer[node] = max((layer[a] + 1 for a in arguments[node]), default=0)
    for node in reversed(range(count)):
        # All edges to the users share one chain: moving down shortens it by one
        # and lengthens the arguments' chains by one each at most. Leaves come along.
        inner = {a for a in arguments[node] if arguments[a]}
        if users[node] and len(inner) <= 1:
            layer[node] = min(layer[u] for u in users[node]) - 1
    return layer


class _Grid:
    """Nodes and bends in layers, and the links between adjacent layers.

    Cells 0 .. n-1 are the nodes, further ones are bends.
    """

    def __init__(
        self, widths: Sequence[float], edges: Sequence[Edge], layer: Sequence[int]
    ):
        self.widths = list(widths)
        self.layer = list(layer)
        self.nodes = len(widths)
        self.above: list[list[tuple[int, float]]] = [[] for _ in widths]
        """For each cell: the cell above, and where on this cell's top it arrives."""
        self.below: list[list[tuple[int, float]]] = [[] for _ in widths]
        self.chains: dict[int, list[int]] = {}
        """For each source of long edges, its chain of bends."""
        self.paths: list[list[int] | None] = []
        """For each edge the bends it follows, None if it goes without."""
        self._link(edges)
        self.order: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for cell, depth in enumerate(self.layer):
            self.order[depth].append(cell)

    def _link(self, edges: Sequence[Edge]) -> None:
        reach = [0] * self.nodes
        for e in edges:
            reach[e.source] = max(reach[e.source], self.layer[e.target])
        spans = sorted(
            (reach[s] - self.layer[s] - 1, s) for s in range(self.nodes) if reach[s]
        )
        chains = self.chains
        budget = MAX_BENDS
        for span, source in spans:
            if span > budget:
                break
            budget -= span
            chains[source] = self._chain(source, span)
        for e in edges:
            steps = self.layer[e.target] - self.layer[e.source] - 1
            chain = chains.get(e.source)
            if chain is None and steps:
                self.paths.append(None)
                continue
            path = (chain or [])[:steps]
            self.paths.append(path)
            offset = (e.port - 0.5) * self.widths[e.target]
            self._connect(path[-1] if path else e.source, e.target, offset)

    def _chain(self, source: int, span: int) -> list[int]:
        chain: list[int] = []
        for step in range(1, span + 1):
            cell = len(self.widths)
            self.widths.append(0.0)
            self.layer.append(self.layer[source] + step)
            self.above.append([])
            self.below.append([])
            self._connect(chain[-1] if chain else source, cell, 0.0)
            chain.append(cell)
        return chain

    def _connect(self, upper: int, lower: int, offset: float) -> None:
        self.above[lower].append((upper, offset))
        self.below[upper].append((lower, offset))

    def gap(self, left: int, right: int) -> float:
        """Return the distance that the centers of neighbours keep."""
        bend = left >= self.nodes or right >= self.nodes
        half = (self.widths[left] + self.widths[right]) / 2
        return half + (BEND_GAP if bend else NODE_GAP)


# ------------------------------------------------------------------- crossings


def _reduce_crossings(grid: _Grid) -> None:
    _order_by_depth_first_search(grid)
    rounds = 24 if len(grid.widths) < 3000 else 6
    best = [list(cells) for cells in grid.order]
    fewest = _count_crossings(grid)
    for number in range(rounds):
        if not fewest:
            break
        _sweep_barycenters(grid, down=number % 2 == 0)
        if len(grid.widths) < 600:
            _exchange_neighbours(grid)
        crossings = _count_crossings(grid)
        if crossings < fewest:
            fewest = crossings
            best = [list(cells) for cells in grid.order]
    grid.order = best


def _order_by_depth_first_search(grid: _Grid) -> None:
    """Put cells in the order in which their users ask for them."""
    seen: set[int] = set()
    order: list[list[int]] = [[] for _ in grid.order]
    starts = [c for c in range(len(grid.widths)) if not grid.below[c]]
    for start in starts:
        stack = [start]
        while stack:
            cell = stack.pop()
            if cell in seen:
                continue
            seen.add(cell)
            order[grid.layer[cell]].append(cell)
            stack.extend(a for a, _ in reversed(grid.above[cell]))
    grid.order = order


def _positions(cells: Sequence[int]) -> dict[int, int]:
    return {cell: place for place, cell in enumerate(cells)}


def _sweep_barycenters(grid: _Grid, down: bool) -> None:
    depths = range(1, len(grid.order)) if down else range(len(grid.order) - 2, -1, -1)
    for depth in depths:
        fixed = _positions(grid.order[depth - 1 if down else depth + 1])
        links = grid.above if down else grid.below
        key: dict[int, float] = {}
        for place, cell in enumerate(grid.order[depth]):
            around = [fixed[c] + 0.001 * o for c, o in links[cell]]
            key[cell] = sum(around) / len(around) if around else float(place)
        grid.order[depth].sort(key=key.__getitem__)


def _ends(
    grid: _Grid, cell: int, place: dict[int, int], down: bool
) -> list[tuple[int, float]]:
    links = grid.below if down else grid.above
    return sorted((place[c], o if down else 0.0) for c, o in links[cell])


def _exchange_neighbours(grid: _Grid) -> None:
    """Exchange two neighbours wherever that leaves fewer crossings."""
    places = [_positions(cells) for cells in grid.order]
    improved, rounds = True, 0
    while improved and rounds < 8:
        improved, rounds = False, rounds + 1
        for depth, cells in enumerate(grid.order):
            for i in range(len(cells) - 1):
                before = after = 0
                for down, other in ((False, depth - 1), (True, depth + 1)):
                    if not 0 <= other < len(grid.order):
                        continue
                    a = _ends(grid, cells[i], places[other], down)
                    b = _ends(grid, cells[i + 1], places[other], down)
                    before += sum(x > y for x in a for y in b)
                    after += sum(y > x for x in a for y in b)
                if after < before:
                    cells[i], cells[i + 1] = cells[i + 1], cells[i]
                    improved = True
            places[depth] = _positions(cells)


def _count_crossings(grid: _Grid) -> int:
    total = 0
    for upper, lower in zip(grid.order, grid.order[1:]):
        place = _positions(lower)
        seen: list[tuple[int, float]] = []
        for cell in upper:
            ends = _ends(grid, cell, place, down=True)
            for end in ends:
                total += len(seen) - bisect_right(seen, end)
            for end in ends:
                insort(seen, end)
    return total


# ------------------------------------------------------------------- positions


def _place(grid: _Grid) -> list[float]:
    x = [0.0] * len(grid.widths)
    for cells in grid.order:
        at = 0.0
        for left, right in zip([None, *cells], cells):
            at += 0.0 if left is None else grid.gap(left, right)
            x[right] = at
    rounds = 12 if len(grid.widths) < 3000 else 4
    for number in range(rounds):
        both = number >= rounds - 4
        for depth in range(len(grid.order)):
            _settle(grid, x, depth, up=True, down=both)
        for depth in reversed(range(len(grid.order))):
            _settle(grid, x, depth, up=both, down=True)
    for depth in range(len(grid.order)):
        _settle(grid, x, depth, up=True, down=True)
    _straighten(grid, x)
    return x


def _settle(grid: _Grid, x: list[float], depth: int, up: bool, down: bool) -> None:
    """Move a layer to the places nearest to what its neighbours ask for."""
    cells = grid.order[depth]
    wishes, weights, offsets = [], [], []
    offset = 0.0
    for i, cell in enumerate(cells):
        if i:
            offset += grid.gap(cells[i - 1], cell)
        total = weight = 0.0
        if up:
            for c, o in grid.above[cell]:
                w = _stiffness(grid, c, cell)
                total, weight = total + w * (x[c] - o), weight + w
        if down:
            for c, o in grid.below[cell]:
                w = _stiffness(grid, cell, c)
                total, weight = total + w * (x[c] + o), weight + w
        wish = total / weight if weight else x[cell]
        wishes.append(wish - offset)
        weights.append(weight or 0.01)
        offsets.append(offset)
    for cell, place, offset in zip(cells, isotonic(wishes, weights), offsets):
        x[cell] = place + offset


def _straighten(grid: _Grid, x: list[float]) -> None:
    """Give each chain of bends as few different places as its neighbours allow."""
    place = {c: i for cells in grid.order for i, c in enumerate(cells)}
    for chain in grid.chains.values():
        run: list[int] = []
        low, high = -math.inf, math.inf
        for cell in [*chain, None]:
            if cell is not None:
                below, above = _room(grid, x, cell, place[cell])
                if max(low, below) <= min(high, above):
                    run.append(cell)
                    low, high = max(low, below), min(high, above)
                    continue
            mean = sum(x[c] for c in run) / max(len(run), 1)
            for c in run:
                x[c] = min(max(mean, low), high)
            if cell is not None:
                run, (low, high) = [cell], (below, above)


def _room(grid: _Grid, x: list[float], cell: int, place: int) -> tuple[float, float]:
    """Return between which places a cell may be, its neighbours staying."""
    cells = grid.order[grid.layer[cell]]
    low, high = -math.inf, math.inf
    if place > 0:
        low = x[cells[place - 1]] + grid.gap(cells[place - 1], cell)
    if place + 1 < len(cells):
        high = x[cells[place + 1]] - grid.gap(cell, cells[place + 1])
    return min(low, x[cell]), max(high, x[cell])  # but for rounding, it is between


def _stiffness(grid: _Grid, upper: int, lower: int) -> float:
    """Return the weight of a link: long edges are kept straight."""
    bends = (upper >= grid.nodes) + (lower >= grid.nodes)
    return (1.0, 2.0, 8.0)[bends]


def isotonic(wishes: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the nondecreasing numbers nearest to `wishes` in weighted squares."""
    blocks: list[tuple[float, float, int]] = []
    for wish, weight in zip(wishes, weights):
        mean, heavy, count = wish, weight, 1
        while blocks and blocks[-1][0] > mean:
            m, h, c = blocks.pop()
            mean = (m * h + mean * heavy) / (h + heavy)
            heavy, count = heavy + h, count + c
        blocks.append((mean, heavy, count))
    return [mean for mean, _, count in blocks for _ in range(count)]


# -------------------------------------------------------------------- geometry


def _finish(
    grid: _Grid,
    x: list[float],
    heights: Sequence[float],
    edges: Sequence[Edge],
    heads: Sequence[float],
) -> Layout:
    """Return where all lies; `heights` are those of nodes with their heads."""
    nodes = range(grid.nodes)
    left = min(x[n] - grid.widths[n] / 2 for n in range(len(x)))
    x = [v - left for v in x]
    tops, bottoms = _rows(grid, x, heights)
    out = Layout()
    out.width = max(x[n] + grid.widths[n] / 2 for n in range(len(x)))
    out.height = bottoms[-1]
    for n in nodes:
        depth = grid.layer[n]
        out.centers.append((x[n], (tops[depth] + bottoms[depth]) / 2))
    for e, path in zip(edges, grid.paths):
        (sx, sy), (tx, ty) = out.centers[e.source], out.centers[e.target]
        route = [(sx, sy + heights[e.source] / 2)]
        route.append((sx, bottoms[grid.layer[e.source]]))
        for bend in path or ():
            depth = grid.layer[bend]
            route += [(x[bend], tops[depth]), (x[bend], bottoms[depth])]
        end = tx + (e.port - 0.5) * grid.widths[e.target]
        route += [(end, tops[grid.layer[e.target]])]
        route += [(end, ty - heights[e.target] / 2 + heads[e.target])]
        out.routes.append(_shortened(route))
    out.centers = [(x, y + head / 2) for (x, y), head in zip(out.centers, heads)]
    return out


def _shortened(route: Sequence[Point]) -> list[Point]:
    """Return a route without the points between which it goes straight on."""
    out: list[Point] = []
    for place, point in enumerate(route):
        # a gap that is passed without going sideways: two straight pieces are one
        if place % 2 and len(out) > 2 and out[-1][0] == out[-2][0] == point[0]:
            out[-2:] = [point]
        else:
            out.append(point)
    return out


def _rows(
    grid: _Grid, x: list[float], heights: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Return where each layer begins and ends; gaps are wider under wide edges."""
    tops, bottoms, y = [], [], 0.0
    for cells in grid.order:
        tall = max((heights[c] for c in cells if c < grid.nodes), default=0.0)
        tops.append(y)
        bottoms.append(y + tall)
        slant = max(
            (abs(x[c] - (x[b] + o)) for c in cells for b, o in grid.below[c]),
            default=0.0,
        )
        y += tall + LAYER_GAP + min(60.0, 0.08 * slant)
    return tops, bottoms
