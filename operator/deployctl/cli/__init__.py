"""The command line: one module a verb. The only place that prints or exits."""
