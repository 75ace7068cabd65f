"""Upkeep of a whole library: bulk ingest, rebuild from disk, audit of sidecars, doctor."""
