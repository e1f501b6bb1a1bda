"""Predicted against measured time on the workloads of `graphc bench`.

Run ``graphc doctor --calibrate`` first. Prints a table and the median of the ratio.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

import graphc as cg
from graphc.backends.reference import bind_sizes
from graphc.surfaces.bench.workloads import WORKLOADS, Workload, namespace
from graphc.surfaces.cost.machine import best, load
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
    """Print predicted and measured times of all workloads."""
    model = load()
    if model is None:
        raise SystemExit("not calibrated: run graphc doctor --calibrate")
    ratios = []
    print(f"{'workload':<20}{'predicted':>12}{'measured':>12}{'ratio':>8}")
    for name, workload in WORKLOADS.items():
        arrays = workload.arrays()
        function = compiled(workload, arrays)
        predicted = predicted_seconds(
            function, bind_sizes(function.original.inputs, arrays), model
        )
        measured = best(function, 0.3, *arrays)
        ratios.append(predicted / measured)
        print(
            f"{name:<20}{predicted * 1e6:>9.1f} us{measured * 1e6:>9.1f} us"
            f"{ratios[-1]:>8.2f}"
        )
    print(f"median of predicted / measured: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
