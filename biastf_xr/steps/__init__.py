"""The steps of a run, each from a configuration, told on the terminal.

Commands, the demo and the scheduled pipelines are made of these.
"""
