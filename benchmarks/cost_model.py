"""Predicted against measured time on the workloads of `graphc bench`.

Run ``graphc doctor --calibrate`` first. Prints a table and the median of the ratio.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np

import graphc as cg
from graphc.backends.reference import bind_sizes
from graphc.surfaces.bench.workloads import WORKLOADS, Workload, namespace
from graphc.surfaces.cost.calibrate import best
from graphc.surfaces.cost.machine import load
from graphc.surfaces.cost.profile import predicted_seconds


def compiled(workload: Workload, arrays: list[np.ndarray]) -> cg.Function:
    """Return the workload as a compiled function of arrays."""
    inputs = [cg.tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    result: Any = workload.function(namespace("graphc"), *inputs)
    if workload.kind == "value_and_grad":
        result = cg.value_and_grad(result, [inputs[i] for i in workload.wrt])
    elif workload.kind == "jacobian":
        result = cg.jacobian(result, inputs[workload.wrt[0]])
    return cg.compile(inputs, result)


def main() -> None:
    """Print predicted and measured times of all workloads, measured in turn."""
    model = load()
    if model is None:
        raise SystemExit("not calibrated: run graphc doctor --calibrate")
    functions, predicted = {}, {}
    for name, workload in WORKLOADS.items():
        arrays = workload.arrays()
        functions[name] = partial(compiled(workload, arrays), *arrays)
        function = functions[name].func
        values = bind_sizes(function.original.inputs, arrays)
        predicted[name] = predicted_seconds(function, values, model)
    rounds = [[best(f, 0.1) for f in functions.values()] for _ in range(ROUNDS)]
    ratios = []
    print(f"{'workload':<20}{'predicted':>12}{'measured':>12}{'ratio':>8}")
    for name, taken in zip(functions, zip(*rounds)):
        measured = min(taken)  # as the rates are: what others do aside
        ratios.append(predicted[name] / measured)
        print(
            f"{name:<20}{predicted[name] * 1e6:>9.1f} us{measured * 1e6:>9.1f} us"
            f"{ratios[-1]:>8.2f}"
        )
    close = sum(0.7 <= r <= 1.3 for r in ratios)
    print(f"median of predicted / measured: {statistics.median(ratios):.2f}")
    print(f"between 0.7 and 1.3: {close} of {len(ratios)}")


ROUNDS = 5

if __name__ == "__main__":
    main()
