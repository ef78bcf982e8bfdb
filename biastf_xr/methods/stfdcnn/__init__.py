"""STFDCNN: two networks and two fusion stages (Song et al. 2018)."""
