"""Connect to a Dask cluster, whichever: one `ClusterSpec`, one `connect`.

Nothing of Dask is imported with this package; a class of clusters loads with the first connection.
"""

from biastf_xr.cluster._connect import connect, dashboard, render, tasks_on_demand
from biastf_xr.cluster._keywords import keywords
from biastf_xr.cluster._spec import ClusterSpec

__all__ = ["ClusterSpec", "connect", "dashboard", "keywords", "render", "tasks_on_demand"]
