"""What the rows become: the CDM's specification, the vocabulary, the transforms, their scope and their publishing.

Belongs here: everything that knows an OMOP table or concept. Does not: how source rows are kept (store), what people
are shown (telling), or the order of a run (runs).
"""
