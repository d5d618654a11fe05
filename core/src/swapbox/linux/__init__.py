"""The one typed seam for kernel calls: what Python's ``os`` does not offer is in here and nowhere else."""
