"""What arrives: the files of a snapshot, their records, the hashes of these, the delta and its validation.

Belongs here: facts about Synthea's CSV files and everything that can be said about a snapshot without a database.
Does not: where the state is kept, how rows reach PostgreSQL (store), what the rows mean in the CDM (cdm).
Every function here is pure or only reads files, takes and gives picklable values, and so may run in a worker process.
"""
