"""The target `kubernetes`: a release of deployctl is a release of Helm, made from the chart.

Nothing is imported here: records and a look at all services need no driver.
"""
