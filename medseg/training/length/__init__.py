"""The length of a run: steps, budgets, extensions, early ends, and the course of its schedule."""
