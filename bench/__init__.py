"""Side-by-side measurements against what a user would use instead. Ratios are what counts: the
machines that run this are shared and noisy."""
