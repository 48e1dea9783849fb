#!/usr/bin/env python3
"""Expected figures of test/pgtap/views_calls.sql, from the definitions alone.

The askings below are those of the test's rows; nothing here reads the
extension's SQL.  Flip rate as the share of unequal pairs, counted one by one;
variance as statistics.variance; Newcombe (1998), method 10.
"""
from itertools import combinations
from math import sqrt
from statistics import mean, variance

Z = 1.959963984540054

# row: (band, verdict or failure, score) of each asking that counts; a row
# that may not count (fewer than five of one request and model) is not here
ROWS = {
    'P1': [('low', 'approve', .1)] * 5,
    'P2': [('low', 'approve', .1), ('low', 'approve', .1),
           ('low', 'approve', .2), ('low', 'decline', .8),
           ('low', 'decline', .9)],
    'P3': [('high', 'approve', .1), ('high', 'decline', .9),
           ('high', 'review', .5), ('high', 'failure timeout', None),
           ('high', 'decline', .8)],
    'P4': [('low', 'approve', .3), ('low', 'approve', .3),
           ('low', 'decline', .7), ('mid', 'approve', .3),
           ('mid', 'approve', .2), ('mid', 'approve', .3)],
    'P8': [('high', 'review', .4)] * 4 + [('high', 'decline', None)],
    'P11': [('high', 'failure timeout', None)] * 5,
    'P12': [('high', 'approve', .1)] * 4 + [('low', 'approve', .2)],
}


def flip(said):
    return mean(a != b for a, b in combinations(said, 2))


def wilson(k, n):
    p = k / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return max(centre - half, 0), min(centre + half, 1)


def figures(band):
    chosen = {row: [(v, s) for b, v, s in asked if band in ('all', b)]
              for row, asked in ROWS.items()}
    chosen = {row: asked for row, asked in chosen.items() if len(asked) >= 2}
    flips = [flip([v for v, _ in asked]) for asked in chosen.values()]
    scores = [[s for _, s in asked if s is not None]
              for asked in chosen.values()]
    scores = [s for s in scores if len(s) >= 2]
    freedom = sum(len(s) - 1 for s in scores)
    pooled = sum((len(s) - 1) * variance(s) for s in scores) / freedom
    print(f'{band}: {len(flips)} rows, {sum(map(len, chosen.values()))} '
          f'answers, {mean(flips):.6f}, {pooled:.9f}')
    return sum(flips), len(flips)


figures('all')
figures('mid')
(k2, n2), (k1, n1) = figures('low'), figures('high')
(l1, u1), (l2, u2) = wilson(k1, n1), wilson(k2, n2)
p1, p2 = k1 / n1, k2 / n2
print(f'load effect {p1 - p2:.6f} '
      f'{p1 - p2 - sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2):.6f} '
      f'{p1 - p2 + sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2):.6f}')
# Newcombe's own example, table II: 56/70 - 48/80, method 10
(l1, u1), (l2, u2) = wilson(56, 70), wilson(48, 80)
print(f'56/70 - 48/80 {.2 - sqrt((.8 - l1) ** 2 + (u2 - .6) ** 2):.6f} '
      f'{.2 + sqrt((u1 - .8) ** 2 + (.6 - l2) ** 2):.6f}')
