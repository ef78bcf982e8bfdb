"""STFDCNN: two networks, and a resolution between the coarse and the fine one."""

from biastf_xr.methods.stfdcnn._method import STFDCNN
from biastf_xr.methods.stfdcnn._networks import STFDCNNOptions

__all__ = ["STFDCNN", "STFDCNNOptions"]
