"""Train a network on handwritten digits: what ``graphc demo`` runs.

Everything that computes is written as expressions: the network, its loss, the
gradient by reverse mode, and the update, Adam with decoupled weight decay. They are
compiled together as one function from (parameters, moments, minibatch) to (loss,
parameters, moments).
The data are scikit-learn's 1,797 images of 8x8 pixels.

This file is also ``examples/digits_mlp.py``.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import graphc as cg
from graphc.types.errors import DrawError, MissingPackageError

LAYERS = (64, 64, 64, 10)
BATCH = 32
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 0.5
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


# ---------------------------------------------------------------- expressions


def network(params: list[dict[str, Any]], pixels: Any) -> Any:
    """Return the logits, shape (n, 10), of images, shape (n, 64)."""
    h = pixels
    for number, layer in enumerate(params[:-1], 1):
        h = cg.named(cg.nn.relu(h @ layer["w"] + layer["b"]), f"hidden{number}")
    return cg.named(h @ params[-1]["w"] + params[-1]["b"], "logits")


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean over images of ``-log softmax(logits)[label]``."""
    return cg.mean(cg.nn.softmax_cross_entropy(logits, labels))


def adam(
    param: Any, grad: Any, m: Any, v: Any, t: Any, rate: Any
) -> tuple[Any, Any, Any]:
    """Return a parameter and its two moments after step `t` = 1, 2, ... of Adam.

    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1;
    matrices decay as in Loshchilov and Hutter, "Decoupled weight decay
    regularization" (2019).
    """
    m = BETA1 * m + (1 - BETA1) * grad
    v = BETA2 * v + (1 - BETA2) * grad * grad
    m_hat = m / (1 - BETA1**t)
    v_hat = v / (1 - BETA2**t)
    step = m_hat / (cg.sqrt(v_hat) + EPSILON)
    if param.ndim > 1:
        step = step + WEIGHT_DECAY * param
    return param - rate * step, m, v


def inputs_like(name: str) -> list[dict[str, Any]]:
    """Return inputs for a weight and a bias of each layer, names from `name`."""
    return [
        {
            "w": cg.matrix(f"{name}w{i}", (m, n), dtype="float32"),
            "b": cg.vector(f"{name}b{i}", n, dtype="float32"),
        }
        for i, (m, n) in enumerate(pairwise(LAYERS), 1)
    ]


class Model(NamedTuple):
    """The expressions of the training step."""

    inputs: tuple[Any, ...]
    """Parameters, moments m and v, step number, learning rate, pixels, labels."""
    loss: Any
    gradient: list[dict[str, Any]]
    outputs: dict[str, Any]
    """Loss, and the inputs' successors: params, m, v."""
    prediction: Any


def build() -> Model:
    """Return the expressions; nothing is computed yet."""
    params, m, v = inputs_like(""), inputs_like("m_"), inputs_like("v_")
    t, rate = cg.scalar("t", dtype="float32"), cg.scalar("rate", dtype="float32")
    pixels = cg.matrix("pixels", ("n", LAYERS[0]), dtype="float32")
    labels = cg.vector("labels", "n", dtype="int64")

    logits = network(params, pixels)
    loss = cg.named(cross_entropy(logits, labels), "loss")
    gradient = cg.grad(loss, params)

    outputs: dict[str, Any] = {"loss": loss, "params": [], "m": [], "v": []}
    for layer, grads, layer_m, layer_v in zip(params, gradient, m, v):
        new = {
            k: adam(layer[k], grads[k], layer_m[k], layer_v[k], t, rate) for k in layer
        }
        for place, what in enumerate(("params", "m", "v")):
            outputs[what].append({k: step[place] for k, step in new.items()})
    return Model(
        (params, m, v, t, rate, pixels, labels),
        loss,
        gradient,
        outputs,
        cg.argmax(logits, axis=-1),
    )


# ----------------------------------------------------------- data and training


def load_digits(seed: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return (pixels, labels) for training, and of the fifth that is held out.

    Pixels are standardized with the training images' means and their common standard
    deviation.

    Raises
    ------
    MissingPackageError
        If scikit-learn, which holds the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError(
            "the demo's images come with scikit-learn: pip install 'graphc[demo]'."
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    held = len(labels) // 5
    test, train = order[:held], order[held:]
    pixels = (pixels - pixels[train].mean(axis=0)) / pixels[train].std()
    pixels = pixels.astype(np.float32)
    return (pixels[train], labels[train]), (pixels[test], labels[test])


def he_initialization(seed: int) -> list[dict[str, np.ndarray]]:
    """Return weights from N(0, 2 / inputs) and biases of zero (He et al., 2015)."""
    rng = np.random.default_rng(seed)
    return [
        {
            "w": (rng.normal(size=(m, n)) * np.sqrt(2 / m)).astype(np.float32),
            "b": np.zeros(n, np.float32),
        }
        for m, n in pairwise(LAYERS)
    ]


def zeros_like(params: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Return arrays of zeros in the same containers."""
    return [{k: np.zeros_like(a) for k, a in layer.items()} for layer in params]


class Result(NamedTuple):
    """What a run of the demo found."""

    accuracy: float
    losses: list[float]
    steps: int
    seconds: float
    compile_seconds: float
    pictures: list[Path]


def run(
    out: Path,
    epochs: int = 40,
    seed: int = 0,
    backend: str = "cpu",
    quiet: bool = False,
) -> Result:
    """Train, report, and draw the graphs.

    Parameters
    ----------
    out : Path
        Folder for the pictures; made if it is missing.
    epochs : int
        Passes over the training images, each in another order.
    seed : int
        Of the split, the initialization, and the order of minibatches.
    backend : str
        What `graphc.compile` takes.
    quiet : bool
        Print nothing and show no progress bar.

    Raises
    ------
    MissingPackageError
        If scikit-learn or tqdm is not installed.
    DrawError
        If the folder cannot be made or written.
    """
    say = (lambda text: None) if quiet else print
    (pixels, labels), (test_pixels, test_labels) = load_digits(seed)
    progress_bar = load_progress_bar()
    make_folder(out)
    say(f"digits: {len(labels)} images to learn from, {len(test_labels)} held out")

    model = build()
    began = time.perf_counter()
    step = cg.compile(model.inputs, model.outputs, backend=backend)
    predict = cg.compile(
        [model.inputs[0], model.inputs[-2]],
        model.prediction,
        backend=backend,
        results="numpy",
    )
    compile_seconds = time.perf_counter() - began
    say(
        f"network: {'-'.join(map(str, LAYERS))}, ReLU, softmax cross-entropy, Adam; "
        f"compiled in {compile_seconds:.2f} s"
    )
    if step.kernels:
        say(f"training step: {len(step.kernels)} kernels and matrix products")

    params = he_initialization(seed)
    m, v = zeros_like(params), zeros_like(params)
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    steps, all_steps = 0, epochs * -(-len(labels) // BATCH)
    began = time.perf_counter()
    bar = progress_bar(total=epochs, desc="training", unit="epoch", disable=quiet)
    for _ in range(epochs):
        order = rng.permutation(len(labels))  # without replacement
        total = 0.0
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]  # the last one is smaller
            rate = LEARNING_RATE * (1 - steps / all_steps)
            steps += 1
            new = step(params, m, v, steps, rate, pixels[chosen], labels[chosen])
            params, m, v = new["params"], new["m"], new["v"]
            total += float(new["loss"]) * len(chosen)
        losses.append(total / len(order))
        bar.set_postfix(loss=f"{losses[-1]:.4f}")
        bar.update()
    bar.close()
    seconds = time.perf_counter() - began

    accuracy = float(np.mean(predict(params, test_pixels) == test_labels))
    say(f"accuracy on the held-out images: {accuracy:.1%}")
    say(f"steps: {steps} in {seconds:.2f} s, {steps / seconds:,.0f} per second")
    pictures = draw_graphs(model, out)
    say("pictures: " + ", ".join(str(p) for p in pictures))
    return Result(accuracy, losses, steps, seconds, compile_seconds, pictures)


def draw_graphs(model: Model, out: Path) -> list[Path]:
    """Draw the loss, and the loss with its gradient, as .svg and .png."""
    written = []
    for name, subject in {
        "forward": model.loss,
        "backward": {"loss": model.loss, "gradient": model.gradient},
    }.items():
        picture = cg.draw(subject)
        for suffix in (".svg", ".png"):
            written.append(picture.save(out / (name + suffix)))
    return written


def make_folder(out: Path) -> None:
    """Make a folder unless it exists.

    Raises
    ------
    DrawError
        If it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DrawError(
            f"demo: cannot make the folder {out}: {error.strerror}. Choose another "
            "with --out."
        ) from error


def load_progress_bar() -> Any:
    """Return the class of progress bars.

    Raises
    ------
    MissingPackageError
        If tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingPackageError(
            "the demo's progress bar is tqdm: pip install 'graphc[demo]'."
        ) from error
    return tqdm


if __name__ == "__main__":
    accuracy = run(Path("graphc-demo")).accuracy
    assert accuracy >= 0.97, f"only {accuracy:.1%} of the held-out images are right"
