-- Changes how publishers wake runtimes ($1: eventcount, notify, poll): the triggers are made anew, and every runtime looks again.
SELECT {schema}.pgflow_set_mode($1)
