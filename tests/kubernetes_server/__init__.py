"""A Kubernetes of one machine: its API over HTTP, checked against its published schemas, and pods that are processes here."""
