"""Trainings on other machines, by an engine that is there: Slurm, Ray, Kubernetes."""
