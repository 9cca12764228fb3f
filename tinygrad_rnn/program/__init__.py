"""A recorded graph as a program: traced, rewritten by passes, and run as plain NumPy, or written for people to read.

tracing.py   a function is run twice: its loss and its gradients as one graph, and both runs are observed;
             surroundings.py is what the function finds around it
graph.py     the graph: nodes without values; and what a compiled function takes and returns, arrays in lists, tuples
             and dicts
passes.py    from graph to graph, each with less to do
kernel.py    a graph as one function that computes into arrays made once
rolling.py   the loops in sequences that are alike but for their lengths
lengths.py   a function's program for every length: its kernel with loops over time
source.py    a graph as a module that reads like backpropagation through time written by hand; of its parts,
             expressions.py says how each primitive is written, and the functions that NumPy lacks, and assignments.py
             which nodes are assigned to variables at which step, and what is written there
program.py   compile, and the Program that it returns
"""

from tinygrad_rnn.program.program import Pass, Program, compile

__all__ = ["Pass", "Program", "compile"]
