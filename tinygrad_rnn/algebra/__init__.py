"""Formulas of a recorded graph: the rules of the table, run on symbols, and what they make, as text.

- `trees`: formulas as trees, which simplify themselves as they are made.
- `formulas`: the table's notation, read; how a node was made, and what becomes of a gradient on its way back: rules,
  run on trees.
- `variables`: a graph at the level of its variables, and what lies between them.
- `notation`, `typesetting`, `writer`: whose letters are written, in which setting, and the text.
"""
