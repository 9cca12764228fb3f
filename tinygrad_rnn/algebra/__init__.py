"""Formulas of a recorded graph: the rules of the table, run on symbols, and what they make, as text.

- `trees`: formulas as trees, which simplify themselves as they are made; `reading` reads the table's
  notation; `operators`: what a rule does with arrays, done with trees.
- `formulas`: how a node was made, and what becomes of a gradient on its way back.
- `variables`: a graph at the level of its variables, and the paths between them.
- `notation`, `typesetting`, `writer`: whose letters are written, in which setting, and the text.
"""
