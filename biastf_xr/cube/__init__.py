"""The cubes: what is stored, how it is encoded, and the only code that opens or writes it."""
