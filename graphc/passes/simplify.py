"""Simplification: fewer and cheaper operations that give the same numbers."""

from __future__ import annotations

from graphc.passes import (
    fold,
    simplify_arithmetic,
    simplify_moves,
    simplify_one_hot,
    simplify_reductions,
    simplify_select,
)
from graphc.passes.rewrite import RulePass

simplify = RulePass(
    "simplify",
    [
        *fold.rules,  # what other rules bring together is folded at once
        *simplify_moves.rules,
        *simplify_reductions.rules,
        *simplify_one_hot.rules,
        *simplify_select.rules,
        *simplify_arithmetic.rules,
    ],
)
