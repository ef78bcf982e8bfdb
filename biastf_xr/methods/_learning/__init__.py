"""What learned methods share: files, samples, networks, how they are trained and run."""
