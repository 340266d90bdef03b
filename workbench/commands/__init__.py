"""One module per command: ``add_arguments(parser)`` and ``run(args, output) -> exit code``.

What is heavy is imported inside ``run``, so that ``usad --help`` stays instant.
"""
