"""Fusing: a plan of units, one kernel per unit, and two drivers (lazy graph, batch run)."""
