"""All passes preserve the value: of every op, of gradients, of random graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from support.registry import Example, examples
from support.tensor_samples import SAMPLES, Sample

import graphc as cg
from graphc.backends import reference
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import leaf, logic, move, powers, reduce, slicing
from graphc.passes.pipeline import run_passes
from graphc.types.sizes import recorded_equalities
from graphc.types.tensor_type import tensor_type


def assert_preserved(graph: Graph, arrays: Sequence[np.ndarray]) -> None:
    after = run_passes(graph)
    olds, news = (reference.run(g, arrays) for g in (graph, after))
    for old, new in zip(olds, news, strict=True):
        assert old.dtype == new.dtype and old.shape == new.shape
        if old.dtype.kind != "f":
            np.testing.assert_array_equal(new, old)
            continue
        tolerance = 1e-5 if old.dtype == np.float32 else 1e-12
        finite = np.isfinite(old)
        largest = np.abs(old[finite]).max(initial=1.0)
        np.testing.assert_allclose(
            new[finite], old[finite], rtol=tolerance, atol=tolerance * largest
        )


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_tensor_op(sample: Sample):
    assert_preserved(sample.graph(), sample.arrays)


@pytest.mark.parametrize("example", list(examples()), ids=lambda e: e.label)
def test_every_elementwise_op(example: Example):
    node = ar.add(example.node, example.node) if example.node.ndim else example.node
    assert_preserved(Graph(example.inputs, [example.node, node]), example.arrays)


def with_gradient(graph: Graph) -> Graph:
    (out,) = graph.outputs
    wrt = [n for n in graph.inputs if n.dtype.kind == "f"]
    back = pull_back([out], [leaf.ones_like(out)], wrt, disconnected="zero")
    return Graph(graph.inputs, [out, *back])


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.smooth], ids=str)
def test_gradient_of_every_tensor_op(sample: Sample):
    assert_preserved(with_gradient(sample.graph()), sample.arrays)


@pytest.mark.parametrize(
    "example", list(examples(differentiable=True)), ids=lambda e: e.label
)
def test_gradient_of_every_elementwise_op(example: Example):
    graph = Graph(example.inputs, [example.node])
    assert_preserved(with_gradient(graph), example.arrays)


CONSTANTS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -7.0, 0.1)


class Generator:
    """Random graphs of what rules look for, on arrays that symbolic sizes share."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        n, m = cg.vector("n", "n").shape[0], 3
        types = [(), (n,), (n, m), (n, m), (m,), (1, m), (n, 1)]
        self.inputs = [
            leaf.new_input(f"x{i}", tensor_type(s, "float64"))
            for i, s in enumerate(types)
        ]
        self.shapes = [tuple(4 if s == n else s for s in t) for t in types]
        self.nodes: list[Node] = list(self.inputs)

    def graph(self, size: int) -> Graph:
        while len(self.nodes) < size:
            self.nodes.append(self.step())
        return Graph(self.inputs, self.nodes[-4:])

    def arrays(self, values: Sequence[float]) -> list[np.ndarray]:
        return [self.rng.choice(values, shape) for shape in self.shapes]

    def pick(self) -> Node:
        recent = self.nodes[-8:] if self.rng.random() < 0.7 else self.nodes
        return recent[self.rng.integers(len(recent))]

    def operand(self) -> Node:
        if self.rng.random() < 0.35:
            value = float(self.rng.choice(CONSTANTS))
            return leaf.full(self.pick().shape, value, "float64")
        return self.pick()

    def step(self) -> Node:
        while True:
            kind = self.rng.integers(len(STEPS))
            with recorded_equalities() as pairs:
                try:
                    node = STEPS[kind](self)
                except cg.ShapeError:
                    continue
            if not pairs:  # of sizes that are equal in some calls only
                return node

    def binary(self) -> Node:
        ops = (
            *(ar.add, ar.subtract, ar.multiply, ar.divide),
            *(ar.minimum, ar.maximum, ar.absolute_zero_multiply),
        )
        return ops[self.rng.integers(len(ops))](self.operand(), self.operand())

    def unary(self) -> Node:
        ops = (
            *(ar.negative, ar.negative, powers.square, powers.reciprocal),
            *(powers.sqrt, ar.stop_gradient, cg.abs, cg.exp, cg.sigmoid, cg.log),
        )
        return ops[self.rng.integers(len(ops))](self.operand())

    def select(self) -> Node:
        compare = (ar.less, ar.less_equal, ar.equal, ar.not_equal, ar.greater)
        op = compare[self.rng.integers(len(compare))]
        condition = op(self.operand(), self.operand())
        if self.rng.random() < 0.3:
            condition = logic.logical_not(condition)
        return ar.where(condition, self.operand(), self.operand())

    def rearrange(self) -> Node:
        x = self.operand()
        if x.ndim == 2 and self.rng.random() < 0.4:
            return move.permute(x, (1, 0))
        shape = [s for s in x.shape if s != 1]
        for _ in range(self.rng.integers(2)):
            shape.insert(self.rng.integers(len(shape) + 1), 1)
        return move.reshape(x, tuple(shape))

    def stretch(self) -> Node:
        return move.broadcast_to(self.operand(), self.pick().shape)

    def cut(self) -> Node:
        x = self.operand()
        starts = tuple(int(self.rng.integers(2)) for _ in x.shape)
        wide = slicing.pad(
            x, starts, tuple(s + 2 for s in x.shape), value=self.rng.choice([0, 1])
        )
        first = tuple(int(self.rng.integers(3)) for _ in x.shape)
        return slicing.slice_(wide, first, x.shape)

    def join(self) -> Node:
        x = self.operand()
        if not x.ndim:
            return x
        both = slicing.concatenate([x, x, ar.negative(x)], 0)
        start = int(self.rng.integers(2)) * x.shape[0]
        return slicing.slice_(both, (start, *(0,) * (x.ndim - 1)), x.shape)

    def reduction(self) -> Node:
        x = self.operand()
        ops = (reduce.sum_, reduce.sum_, reduce.max_, reduce.min_)
        axes = tuple(a for a in range(x.ndim) if self.rng.random() < 0.5)
        return ops[self.rng.integers(len(ops))](x, params=(axes,))

    def product(self) -> Node:
        x = self.operand()
        if x.ndim != 2:
            raise cg.ShapeError
        return cg.matmul(x, move.permute(self.operand(), (1, 0)))


STEPS = (
    *(Generator.binary, Generator.binary, Generator.unary, Generator.select),
    *(Generator.rearrange, Generator.stretch, Generator.cut, Generator.join),
    *(Generator.reduction, Generator.product),
)


@pytest.mark.parametrize("seed", range(100))
def test_random_graphs(seed: int):
    generator = Generator(seed)
    graph = generator.graph(40)
    for values in ((0.5, -1.5, 2.0, 0.25), (0.0, 1.0, -1.0, 3.0, np.inf, np.nan)):
        assert_preserved(graph, generator.arrays(values))
