"""Judging a prediction: measures, hold-out designs, tables and pictures."""
