"""Volumes: which there are, who uses them, how their first content gets in. Their data is a driver's business."""
