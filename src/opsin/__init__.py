"""Opsin: from a folder of raw pictures to a verified model in service."""
