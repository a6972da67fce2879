"""What deployctl does, for the command line, the controller and any program.

Typed requests in, typed results out, events on the way; nothing here prints or exits.
docs/guides/python.md has an example that plans, deploys, measures and takes down a service.
"""
