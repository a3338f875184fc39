"""What tests of several rooms share: a whole `stack`, `commands` as people give them, and `waiting`."""
