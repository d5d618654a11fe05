"""The one typed seam for kernel calls: everything that Python's ``os`` does not offer is in here and nowhere else."""
