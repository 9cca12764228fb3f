"""Lesson 4: the gradient of a shared weight is a sum over time, one term for each step that uses it.

∂E_3/∂W_s = "gradient from s_3 + gradient from s_2 + gradient from s_1" (the BPTT post and Module 5, "Adjusting W_s"),
and in general a sum of products of Jacobians (IIT slides). The slides first try the chain rule without the sum, and
find it incomplete: here one sees by how much.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import run
from tinygrad_rnn.algebra.typesetting import PLAIN

PICTURE = "term.svg"


def main(out, quick=False):
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 3, bias=False, rng=rng), tg.nn.Linear(3, 1, bias=False, rng=rng)
    xs, d = rng.standard_normal((3, 2)), rng.standard_normal(1)
    hs, _ = rnn(xs)
    loss = tg.nn.squared_error(readout(hs[-1]), d)
    (W_x, W_s), (W_y,) = rnn.parameters(), readout.parameters()

    # 1. The terms, and their sum.
    terms = tg.bptt.expansion(loss, W_s, notation="state", setting=PLAIN)
    (whole,) = (g.data for g in tg.grad(loss, [W_s]))
    for term in terms[::-1]:
        print(f"gradient from s_{term.step}: norm {term.norm:.4f}   {term.derivatives}")
    rest = np.max(np.abs(sum(term.value for term in terms) - whole))
    print(f"their sum and the gradient, norm {np.linalg.norm(whole):.4f}, differ by {rest:.1e}")
    print("from s_1 nothing comes to W_s, since s_0 is 0; to W_x something does:")
    print("   ", np.round([term.norm for term in tg.bptt.expansion(loss, W_x)], 4))

    (term,) = tg.bptt.expansion(loss, W_y, notation="state", setting=PLAIN)
    print(f"W_y is used once, and has one term: {term.derivatives} = {term.factors}")

    # 2. The mistake of the IIT slides: the last term alone, as if s_2 did not depend on the weights.
    missing = {}
    for name, parameter in (("W_s", W_s), ("W_x", W_x)):
        parts = tg.bptt.contributions(loss, parameter)
        missing[name] = float(np.linalg.norm(parts[:-1].sum(axis=0)) / np.linalg.norm(parts.sum(axis=0)))
        print(f"the direct term alone misses {missing[name]:.0%} of the gradient of {name}")

    # 3. A term written out for a paper (needs amsmath), and drawn: the way that it takes.
    (out / "sum.tex").write_text(tg.bptt.latex(loss, W_s, notation="state"), encoding="utf-8")
    print((out / "sum.tex").read_text(encoding="utf-8").rstrip())
    tg.draw.backward(loss, highlight=(W_s, 2), notation="state").save(out / PICTURE)

    # 4. With a loss at every step, E = Σ E_t, the terms are a triangle: no loss depends on what comes after it.
    xs = rng.standard_normal((10, 2))
    losses = [tg.nn.squared_error(readout(h), d) for h in rnn(xs)[0]]
    table = tg.bptt.contribution_table(losses, W_x)
    tg.draw.terms(losses, W_x, notation="state").save(out / "triangle.svg")
    print(f"E_10 through x_10: {table[9, 9]:.1e}, through x_1: {table[9, 0]:.1e}; E_1 through x_10: {table[0, 9]}")
    (of_sum,) = tg.grad(sum(losses[1:], losses[0]), [W_x])
    of_each = sum(tg.grad(E, [W_x])[0].data for E in losses)
    print(f"∂E/∂W and Σ_t ∂E_t/∂W (IIT slides) differ by {np.max(np.abs(of_sum.data - of_each)):.0e}")
    rest = max(rest, np.max(np.abs(of_sum.data - of_each)))
    return {
        "rest": rest,
        "output": term.factors,
        "steps": [term.step for term in terms],
        "missing": missing,
        "table": table,
    }


if __name__ == "__main__":
    run(main)
