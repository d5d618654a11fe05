"""From one storage driver to another: ``trees`` are hashed, made equal by ``mirror``, moved by ``service``."""
