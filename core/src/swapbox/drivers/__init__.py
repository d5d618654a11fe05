"""What a backend of each kind promises: one module per kind, and the module is the manual.

``common`` holds what all kinds share (the spec record, probes, the context a factory gets). Value types are
``NamedTuple``: they are immutable, typed, and cost a tenth of a dataclass to define, and these modules are
imported by every command.
"""
