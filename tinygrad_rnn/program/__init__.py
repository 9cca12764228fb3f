"""A recorded graph as a program: traced, rewritten, and written out as plain NumPy."""
