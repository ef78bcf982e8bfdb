"""The variant "plus" of BiaSTF: a few numbers learned in seconds, no network."""

from biastf_xr.methods.plus._card import PlusOptions
from biastf_xr.methods.plus._method import Plus

__all__ = ["Plus", "PlusOptions"]
