"""Temporary."""
def changed(old, new):
    r = [n.time_ns / o.time_ns for o, n in zip(old, new) if n.timing and o.timing]
    return len(r) > 0 and sum(abs(x - 1) > 0.1 for x in r) * 2 > len(r)
