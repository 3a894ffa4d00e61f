"""Where rows are kept: the database, its schemas, the hash state, staging, scope and publishing.

Belongs here: everything that talks to PostgreSQL about our own tables. Does not: what a CSV looks like (source),
what a CDM table means (cdm), or what people are shown (telling).
"""
