"""A release whose units are done on other machines, by engines that exist: what they need is shipped, `work` is called
there, and what came of it is gathered here."""
