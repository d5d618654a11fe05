"""A registry of one's own: the distribution-spec over a directory, for demos, tests and experiments.

:mod:`~swapbox.distribution.api` answers requests, :mod:`~swapbox.distribution.directory` keeps what it holds,
:mod:`~swapbox.distribution.server` is HTTP, :mod:`~swapbox.distribution.faults` makes it slow and faulty on
purpose.
"""
