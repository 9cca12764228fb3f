"""Programs: a function of Tensors, compiled to plain NumPy that runs without Tensors, or is written for people to read.

What becomes of `tg.compile(function, xs, wrt=parameters)`, in the order in which the modules are best read:

    tracing.py      The function is run on the examples, twice, and an observer keeps all that is done with Tensors
                    (`Run`); `grad` records its gradients in the same way. A copy of this is the graph of a `Trace`.
    surroundings.py What the function can look at besides its inputs: each call sees that it stands there as it did.
    structures.py   The lists, tuples and dicts that go in and come out, and the arrays in them.
    graph.py        The graph: `Node`, a Tensor without its value, and `Graph`. Guards stop a call whose values decide
                    otherwise.
    passes.py       From graph to graph, each with less to do: constants, common terms, what all steps can do at once.
    kernel.py       The graph as the text of one function, a call of NumPy a line, each with the array for its result;
                    `Kernels` make it, and the arrays.
    rolling.py      Time as a loop: a pattern with loops is read from three sequences of things done, for 8, 9 and 10
                    steps.
    lengths.py      The function is run on inputs that are cut to so many steps. Of what it records there, and of the
                    kernels' lines, `rolling` makes patterns: one program for every length (`Lengths`).
    program.py      `compile`, and the `Program` that it returns: it finds what was made for such inputs, or makes it.

`program.source` goes another way from the trace, which no pass has touched:

    expressions.py  How each primitive is written in NumPy; `Expression`s serve the kernel, too.
    assignments.py  The nodes that are variables, each with its time step (`Schedule`), and the lines that assign them
                    (`Assignments`).
    source.py       The lines as a module, under the equations that they compute; blocks that are alike become loops.
"""

from tinygrad_rnn.program.program import Pass, Program, compile

__all__ = ["Pass", "Program", "compile"]
