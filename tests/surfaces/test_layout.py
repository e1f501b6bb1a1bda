"""The layered layout: nothing overlaps, edges go down, no recursion."""

import itertools
import random

import numpy as np
import pytest

from graphc.surfaces.draw.layout import Edge, isotonic, layered


def random_graph(count, seed, reach=40):
    rng = random.Random(seed)
    edges = []
    for target in range(1, count):
        sources = [rng.randrange(max(0, target - reach), target) for _ in range(2)]
        for place, source in enumerate(sources, 1):
            edges.append(Edge(source, target, place / 3))
    widths = [rng.uniform(20, 200) for _ in range(count)]
    heights = [rng.choice([30.0, 45.0, 60.0]) for _ in range(count)]
    return widths, heights, edges


def boxes_of(layout, widths, heights):
    return [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (x, y), w, h in zip(layout.centers, widths, heights)
    ]


@pytest.mark.parametrize("count, seed", [(1, 0), (2, 1), (25, 2), (60, 3)])
def test_boxes_do_not_overlap_and_lie_inside(count, seed):
    widths, heights, edges = random_graph(count, seed)
    layout = layered(widths, heights, edges)
    boxes = boxes_of(layout, widths, heights)
    for left, top, right, bottom in boxes:
        assert -1e-6 <= left and right <= layout.width + 1e-6
        assert -1e-6 <= top and bottom <= layout.height + 1e-6
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("seed", range(4))
def test_edges_go_down_from_box_to_box_and_through_none(seed):
    widths, heights, edges = random_graph(40, seed)
    layout = layered(widths, heights, edges)
    boxes = boxes_of(layout, widths, heights)
    for edge, route in zip(edges, layout.routes):
        assert all(b[1] > a[1] - 1e-6 for a, b in itertools.pairwise(route))
        assert route[0][1] == pytest.approx(boxes[edge.source][3])
        assert route[-1][1] == pytest.approx(boxes[edge.target][1])
        left, _, right, _ = boxes[edge.target]
        assert route[-1][0] == pytest.approx(left + edge.port * (right - left))
        # Within a layer a route is a vertical line; it must pass beside the boxes.
        for (x, y0), (x1, y1) in zip(route[::2], route[1::2]):
            assert x == x1
            for number, (left, top, right, bottom) in enumerate(boxes):
                if (
                    number not in (edge.source, edge.target)
                    and y0 < bottom
                    and top < y1
                ):
                    assert x <= left or x >= right


def test_a_tree_is_drawn_without_crossings():
    edges = [Edge(i, 8 + i // 2, (1 + i % 2) / 3) for i in (3, 0, 7, 1, 5, 2, 6, 4)]
    edges += [Edge(8 + i, 12 + i // 2, (1 + i % 2) / 3) for i in (2, 0, 3, 1)]
    edges += [Edge(12, 14, 1 / 3), Edge(13, 14, 2 / 3)]
    layout = layered([50.0] * 15, [20.0] * 15, edges)
    for first, second in itertools.combinations(zip(edges, layout.routes), 2):
        (e, a), (f, b) = first, second
        if a[1][1] == b[1][1] and e.source != f.source:  # the same gap
            assert (a[1][0] < b[1][0]) == (a[2][0] < b[2][0])


def test_repeated_argument_and_no_nodes():
    assert layered([], [], []).centers == []
    layout = layered([40.0, 40.0], [20.0, 20.0], [Edge(0, 1, 1 / 3), Edge(0, 1, 2 / 3)])
    assert layout.routes[0] != layout.routes[1]


def test_deep_and_wide_graphs():
    chain = [Edge(i, i + 1) for i in range(1999)]
    layout = layered([100.0] * 2000, [30.0] * 2000, chain)
    assert layout.width == pytest.approx(100.0)
    assert len({y for _, y in layout.centers}) == 2000
    fan = [Edge(i, 1999, (i + 1) / 2000) for i in range(1999)]
    layout = layered([100.0] * 2000, [30.0] * 2000, fan)
    assert len({y for _, y in layout.centers}) == 2


def test_edges_too_long_for_bends_are_still_drawn():
    # Every node of the second half uses one of the first, in opposite order.
    count = 600
    edges = [Edge(i, i + 1) for i in range(count - 1)]
    edges += [Edge(i, count - 1 - i) for i in range(count // 2 - 1)]
    layout = layered([50.0] * count, [20.0] * count, edges)
    assert len(layout.routes) == len(edges)
    assert any(len(r) == 4 for r in layout.routes[count:])


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_is_optimal(seed):
    # Oracle: the max-min formula of isotonic regression.
    rng = np.random.default_rng(seed)
    y, w = rng.normal(size=9), rng.uniform(0.1, 3, size=9)

    def mean(i, j):
        return np.average(y[i : j + 1], weights=w[i : j + 1])

    expected = [
        max(min(mean(i, j) for j in range(k, 9)) for i in range(k + 1))
        for k in range(9)
    ]
    assert isotonic(y, w) == pytest.approx(expected)
