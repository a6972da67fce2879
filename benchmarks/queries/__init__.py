"""What `deployctl check` says of dashboards, rules and autoscalers that others publish."""
