"""What deployctl does on a real cluster, beside its peers: helm and kubectl."""
