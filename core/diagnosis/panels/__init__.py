"""The panels of ``usad diagnose``, one file each."""
