"""Containers: what they are made of, their life, and the monitor that keeps each one."""
