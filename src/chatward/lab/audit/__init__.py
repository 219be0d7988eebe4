"""Finding what is wrong with labelled chat: labels, copies, words."""
