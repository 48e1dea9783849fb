#!/usr/bin/env python3
"""Kaplan and Meier's estimator, with fractions, for test/pgtap/escalations.sql.

    kaplan_meier.py     prints the expected figures as SQL values

The definition, step by step, from JASA 53 (1958) 457-481: nothing of it is
taken from sql/parts/81_escalations.sql.
"""
from fractions import Fraction

# (seconds until a person's first action, or None; seconds until it was closed,
# or None; seconds since it was opened)
CASES = {
    # all closed: the plain median, 95th percentile and mean
    "closed": [(60 * i, 120 * i, 9000) for i in range(1, 21)],
    # two open ones, and a tie between a case that was taken and one censored
    "open": [(100, 500, 1000), (200, None, 1000), (300, 400, 1000),
             (None, None, 200), (None, None, 1000), (300, 900, 1000)],
    # nobody has touched any
    "untouched": [(None, None, 50), (None, None, 70)],
    # one alone
    "one": [(7, 7, 7)],
}


def curve(cases, which):
    """[(t, S(t))] at the times at which something was observed."""
    waits = [(c[which], True) if c[which] is not None else (c[2], False)
             for c in cases]
    rest, points = Fraction(1), []
    for t in sorted({w for w, _ in waits}):
        at_risk = sum(1 for w, _ in waits if w >= t)
        ended = sum(1 for w, e in waits if w == t and e)
        rest *= 1 - Fraction(ended, at_risk)
        points.append((t, rest))
    return points


def quantile(points, left):
    """The first time at which no more than that share is left."""
    return next((t for t, rest in points if rest <= left), None)


def mean(points):
    """The area below the curve, up to the longest time."""
    area, before, rest = Fraction(0), 0, Fraction(1)
    for t, then in points:
        area += rest * (t - before)
        before, rest = t, then
    return area


def main():
    for name, cases in CASES.items():
        human, resolution = curve(cases, 0), curve(cases, 1)
        closed = sum(1 for c in cases if c[1] is not None)
        figures = [len(cases), closed, len(cases) - closed,
                   quantile(human, Fraction(1, 2)), mean(human),
                   quantile(human, Fraction(1, 20)), mean(resolution),
                   quantile(resolution, Fraction(1, 20))]
        print(name, *["NULL" if f is None else float(f) if isinstance(f, Fraction)
                      and f.denominator > 1 else f for f in figures], sep=", ")


if __name__ == "__main__":
    main()
