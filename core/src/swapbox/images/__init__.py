"""Images: references, manifests, pulling, unpacking, building from the host."""
