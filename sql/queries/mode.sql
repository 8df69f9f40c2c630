-- How publishers wake runtimes in this schema: eventcount, notify or poll.
SELECT mode FROM {schema}.pgflow_meta
