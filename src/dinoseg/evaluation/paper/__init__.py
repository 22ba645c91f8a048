"""For the paper that an evaluation goes into: a method statement, and the CLAIM checklist as far as known."""
