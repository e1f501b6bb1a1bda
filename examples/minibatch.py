"""One example's program becomes a batch's; different lengths by a mask.

From Dyer's notes: minibatching by hand is tedious, and ragged batches more so.
"""

import numpy as np

import graphc as cg


def loss(w, tokens):
    """Return the loss of one example: a sequence of any length, 4 features each."""
    return cg.square(cg.tanh(tokens @ w).sum() - 1.0)


rng = np.random.default_rng(0)
w = rng.normal(size=4)
batch = rng.normal(size=(6, 5, 4))

per_example = cg.vmap(cg.grad(loss), in_axes=(None, 0))(w, batch)
one_by_one = np.stack([cg.grad(loss)(w, example) for example in batch])
print("per-example gradients:", per_example.shape)
np.testing.assert_allclose(per_example, one_by_one, rtol=1e-12)


def masked_loss(w, tokens, mask):
    """Return the loss of one padded example; `mask` marks its tokens."""
    tokens = cg.where(mask[:, None], tokens, 0.0)  # tanh(0) adds nothing
    return cg.square(cg.tanh(tokens @ w).sum() - 1.0)


lengths = np.array([5, 1, 3, 2, 5, 4])
padded = np.where(np.arange(5) < lengths[:, None], 1.0, np.nan)[:, :, None] * batch
mask = np.arange(5) < lengths[:, None]
ragged = cg.vmap(cg.grad(masked_loss), in_axes=(None, 0, 0))(w, padded, mask)
alone = [cg.grad(loss)(w, e[:n]) for e, n in zip(batch, lengths)]
print("lengths", lengths, "- the padding is NaN and does not matter")
np.testing.assert_allclose(ragged, alone, rtol=1e-12)
