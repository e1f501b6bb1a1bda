"""The pictures of the gallery: a quadratic form, a neuron, a training step, an LSTM.

Prints what each graph becomes when it is compiled. With a folder as argument the
pictures and viewers of `docs/gallery` are written there.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import graphc as cg

if len(sys.argv) == 2 and Path(sys.argv[1]).is_dir():
    folder = Path(sys.argv[1])
else:
    folder = Path(tempfile.mkdtemp(prefix="graphc-gallery-"))


def show(name, outputs, **more):
    """Draw a graph, and print how large it is as written and as compiled."""
    picture = cg.draw(outputs, folder / f"{name}.svg", **more)
    f = cg.compile(picture.graph.inputs, list(picture.graph.outputs))
    print(
        f"{name}: {len(picture.graph)} nodes as written, {len(f.graph)} rewritten, "
        f"in {len(f.kernels)} kernels"
    )
    return picture


# x'Ax + b.x + c, for every n
A, x = cg.matrix("A", ("n", "n")), cg.vector("x", "n")
b, c = cg.vector("b", "n"), cg.scalar("c")
form = x @ A @ x + b @ x + c
show("quadratic_form", form)
show("quadratic_form_gradient", {"y": form, "dx": cg.grad(form, x)})

# The sigmoid neuron of the lecture notes: values over gradients at the edges
w0, w1, w2, x0, x1 = inputs = [cg.scalar(name) for name in "w0 w1 w2 x0 x1".split()]
neuron = 1 / (1 + cg.exp(-(w0 * x0 + w1 * x1 + w2)))
at = dict(zip(inputs, (2.0, -3.0, -3.0, -1.0, -2.0)))
picture = show("sigmoid_neuron", neuron, at=at)
picture.save(folder / "sigmoid_neuron.html")
numbers = {e for ends in picture.diagram.marks for e in ends}
assert {"-0.197", "0.393", "-0.393", "-0.59", "0.197", "1.37"} <= numbers


# One step of training a perceptron by gradient descent
def perceptron(pixels, params):
    """Return the logits."""
    h = pixels
    for number, (w, b) in enumerate(params, 1):
        with cg.scope(f"layer {number}"):
            h = h @ w + b
            if number < len(params):
                h = cg.named(cg.nn.relu(h), f"h{number}")
    return cg.named(h, "logits")


pixels, labels = cg.matrix("pixels", ("n", 64)), cg.vector("labels", "n", "int64")
params = [
    (cg.matrix("w1", (64, 32)), cg.vector("b1", 32)),
    (cg.matrix("w2", (32, 10)), cg.vector("b2", 10)),
]
logits = perceptron(pixels, params)
with cg.scope("loss"):
    loss = cg.mean(cg.nn.softmax_cross_entropy(logits, labels))
with cg.scope("update"):
    gradients = cg.grad(loss, params)
    after = [
        (w - 0.1 * dw, b - 0.1 * db)
        for (w, b), (dw, db) in zip(params, gradients, strict=True)
    ]
step = {"loss": loss, "params": after}
show("perceptron_step", step)

rng = np.random.default_rng(0)
arrays = [rng.normal(size=p.shape) * 0.1 for layer in params for p in layer]
values = [rng.random((100, 64)), rng.integers(0, 10, 100), *arrays]
compiled = cg.compile([pixels, labels, *(p for layer in params for p in layer)], step)
cg.draw(compiled, folder / "perceptron_step.html", at=values)
print(compiled.profile(*values))


# A step of a long short-term memory, and a sequence of them
def lstm(x, h, c, W, U, b):
    """Return the next state and cell (Hochreiter and Schmidhuber, 1997)."""
    size = h.shape[1]
    z = x @ W + h @ U + b
    i, f, g, o = (z[:, k * size : (k + 1) * size] for k in range(4))
    i, f, o = (cg.named(cg.sigmoid(s), n) for s, n in zip((i, f, o), "ifo"))
    c = f * c + i * cg.named(cg.tanh(g), "g")
    return o * cg.tanh(c), c


h, c = cg.matrix("h", ("n", 16)), cg.matrix("c", ("n", 16))
W, U, b = cg.matrix("W", (8, 64)), cg.matrix("U", (16, 64)), cg.vector("b", 64)
state, cell = h, c
for t in range(4):
    with cg.scope(f"step {t}"):
        state, cell = lstm(cg.matrix(f"x{t}", ("n", 8)), state, cell, W, U, b)
total = cg.sum(state * state)
sequence = {"loss": total, "gradients": cg.grad(total, [W, U, b])}
cg.draw(sequence, folder / "lstm_sequence.html")
h1, c1 = lstm(cg.matrix("x", ("n", 8)), h, c, W, U, b)
show("lstm_step", {"h": h1, "c": c1})
print(f"pictures: {folder}")
