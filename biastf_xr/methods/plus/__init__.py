"""BiaSTF plus: what the coarse sensor says of the change, in five steps, without a network."""
