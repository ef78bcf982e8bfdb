"""From store to store: what is missing, who does it, what was made from what."""
