"""omop_inc keeps an OMOP CDM v5.4 database current from Synthea's CSV exports, by change data capture.

The rooms, in the order in which data meets them:

- source   what arrives: files, records, hashes, deltas, validation
- store    where it is kept: PostgreSQL, state, staging, scope, publishing
- cdm      what it becomes: the specification, the vocabulary, the transforms
- telling  what people are shown: timings, summaries

`runs` puts them in order for one run; `cli` and the flows/ beside this package call it.
"""

__version__ = "0.1.0"
