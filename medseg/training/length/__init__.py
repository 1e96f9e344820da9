"""How long a run lasts: steps, budgets, extensions, early ends, and the course of its schedule."""
