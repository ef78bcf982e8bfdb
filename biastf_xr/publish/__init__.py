"""Cubes for people who do not know this package: a static STAC catalogue of COGs."""
