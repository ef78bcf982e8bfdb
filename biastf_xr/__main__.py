"""``python -m biastf_xr``: the command line."""

from biastf_xr.cli import main

if __name__ == "__main__":
    main()
