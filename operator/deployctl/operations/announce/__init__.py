"""What happened, told to those who watch: an annotation in Grafana, a file for node-exporter, a
load test's figures for a Pushgateway. Where none of them is set up, nothing is done.

Nothing here fails the work that it tells of: what could not be told is a warning.
"""
