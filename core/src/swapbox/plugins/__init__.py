"""Finding, loading and choosing plugins.

From the bottom up:

- ``markers``: ``@hookimpl`` and ``@hookspec``, which cost nothing to import.
- ``kinds``: what each kind of driver is called on the command line, in the environment and among the hooks.
- ``index``: what is installed, remembered on disk, so that most commands neither scan nor validate.
- ``discovery``: the scan itself, with stevedore and pluggy; runs when the index is missing or stale.
- ``manager``: :class:`~swapbox.plugins.manager.Plugins`, what a process knows of its plugins.
- ``calls``: calls editing and observing hooks under their policies.
- ``selection``: :class:`~swapbox.plugins.selection.Selector`, which driver of each kind is used, and why.
- ``notes``: what choosing leaves on disk.
"""
