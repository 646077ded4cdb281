"""Another repository set up for releases: looking at what is there (facts, found_runs, found_bases), proposing what to
write (run_names, proposal, the parts of it), writing it."""
