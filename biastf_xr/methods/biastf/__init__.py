"""BiaSTF: networks of the sensor bias of change."""

from biastf_xr.methods._learning.rules import SampleRule, TrainRule
from biastf_xr.methods.biastf._method import BiaSTF, BiaSTFOptions
from biastf_xr.methods.biastf._network import NetworkShape

__all__ = ["BiaSTF", "BiaSTFOptions", "NetworkShape", "SampleRule", "TrainRule"]
