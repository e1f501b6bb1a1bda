"""The forward algorithm of a hidden Markov model; its gradient is posterior counts.

From Dyer's notes. The derivative of the log-likelihood by the logarithm of a
transition's probability is the expected number of times it is taken; here it is held
against the forward-backward algorithm in NumPy.
"""

import numpy as np

import graphc as cg

STATES, SYMBOLS, LENGTH = 3, 4, 12

log_start = cg.vector("log_start", STATES)
log_move = cg.matrix("log_move", (STATES, STATES))
log_emit = cg.matrix("log_emit", (STATES, SYMBOLS))
seen = cg.vector("seen", LENGTH, dtype="int64")

alpha = log_start + log_emit[:, seen[0]]
for t in range(1, LENGTH):
    arrive = cg.logsumexp(alpha[:, None] + log_move, axis=0)
    alpha = arrive + log_emit[:, seen[t]]
log_likelihood = cg.logsumexp(alpha)

counts = cg.grad(log_likelihood, [log_start, log_move, log_emit])
run = cg.compile([log_start, log_move, log_emit, seen], [log_likelihood, counts])

rng = np.random.default_rng(0)
start = rng.dirichlet(np.ones(STATES))
move = rng.dirichlet(np.ones(STATES), size=STATES)
emit = rng.dirichlet(np.ones(SYMBOLS), size=STATES)
observed = rng.integers(SYMBOLS, size=LENGTH)
value, (n_start, n_move, n_emit) = run(
    np.log(start), np.log(move), np.log(emit), observed
)

# The oracle: forward and backward probabilities, multiplied out.
a, b = np.empty((2, LENGTH, STATES))
a[0], b[-1] = start * emit[:, observed[0]], 1
for t in range(1, LENGTH):
    a[t] = a[t - 1] @ move * emit[:, observed[t]]
for t in reversed(range(LENGTH - 1)):
    b[t] = move @ (emit[:, observed[t + 1]] * b[t + 1])
p = a[-1].sum()
posterior = a * b / p
moves = sum(
    np.outer(a[t], emit[:, observed[t + 1]] * b[t + 1]) * move / p
    for t in range(LENGTH - 1)
)
emissions = np.zeros((STATES, SYMBOLS))
np.add.at(emissions.T, observed, posterior)

print(f"log-likelihood {value:.6f}")
print("expected transitions\n", np.round(n_move, 4))
np.testing.assert_allclose(value, np.log(p), rtol=1e-12)
np.testing.assert_allclose(n_start, posterior[0], rtol=1e-9)
np.testing.assert_allclose(n_move, moves, rtol=1e-9)
np.testing.assert_allclose(n_emit, emissions, rtol=1e-9, atol=1e-12)
np.testing.assert_allclose(n_move.sum(), LENGTH - 1, rtol=1e-12)
