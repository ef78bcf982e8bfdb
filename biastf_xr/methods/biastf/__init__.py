"""BiaSTF (Li et al., 2020): learn the sensor bias of change with a small CNN per band."""
