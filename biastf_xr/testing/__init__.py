"""A generated region: seeded, of any size, with closed-form truth for every day.

The public names are `SyntheticRegion`, its scenes, and the writers of the files that a user would
have downloaded.
"""

from biastf_xr.testing._region import SyntheticRegion
from biastf_xr.testing._scenes import write_landsat, write_mod09ga
from biastf_xr.testing._views import CoarseScene, FineScene

__all__ = ["CoarseScene", "FineScene", "SyntheticRegion", "write_landsat", "write_mod09ga"]
