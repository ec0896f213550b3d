"""The way from settings to a contextualized machine, as the dry run, `apply` and the daemon all go it.

    discovery ──Found──▶ preparation ──Prepared──▶ application ──▶ completion, which finds more: preparation …

A dry run renders what is prepared instead of carrying it out.
"""
