"""Comparing machines: CSVs in, tables, charts and a page out."""
