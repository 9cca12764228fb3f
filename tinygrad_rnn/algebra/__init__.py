"""Formulas of a recorded graph: the rules of the table, run on symbols, and what they make, as text.

- `trees`: formulas as trees, which simplify themselves as they are made, by operators, NumPy's functions and the
  table's own primitives; the table's notation, read.
- `formulas`: how the variables of a graph were made, and what becomes of a gradient on its way back from one to
  another: rules, run on trees.
- `notation`: the letters, steps and order that are written; `typesetting`: a name in each setting; `writer`: the text.
"""
