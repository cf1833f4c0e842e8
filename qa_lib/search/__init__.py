"""Which settings are worth it: the problem, its operators, budgets, and ``explore``."""
