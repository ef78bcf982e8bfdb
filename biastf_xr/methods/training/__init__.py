"""What learned methods share: which samples are drawn, how networks are optimised, and by whom."""
