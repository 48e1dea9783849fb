#!/usr/bin/env python3
"""Expected figures of test/pgtap/gates.sql, from the formulas alone.

The rows are those that the test makes by the same arithmetic.
"""
from math import sqrt
from statistics import NormalDist, mean, stdev

Z = NormalDist().inv_cdf((1 + 0.95) / 2)


def rows():
    """(row, rules flag, agent flags, fraud)"""
    for i in range(1, 4001):
        rules = i % 5 == 0
        fraud = i % 15 == 0 or i % 35 == 7
        agent = (i % 5 == 0 and i % 10 != 0) or i % 35 == 7
        coin = (i * 7919) % 1009 < 504
        yield i, rules, agent, coin, fraud


def difference(pairs, sign):
    """pairs of (weight, d): the mean, and its less favourable end"""
    w = sum(w for w, _ in pairs)
    m = sum(w * d for w, d in pairs) / w
    variance = sum(w * w * (d - m) ** 2 for w, d in pairs) / w ** 2
    return m + sign * Z * sqrt(variance), len(pairs)


def figures(name, data):
    """data: (weight, rules flag, agent flag, fraud) of the rows that count"""
    print(name, 'positives', sum(f for _, _, _, f in data))
    print(name, 'accuracy %.6f %d' % difference(
        [(w, (a == f) - (r == f)) for w, r, a, f in data], -1))
    print(name, 'fpr %.6f %d' % difference(
        [(w, a - r) for w, r, a, f in data if not f], 1))
    print(name, 'fnr %.6f %d' % difference(
        [(w, r - a) for w, r, a, f in data if f], 1))


figures('complete agent', [(1, r, a, f) for _, r, a, _, f in rows()])
figures('complete coin', [(1, r, c, f) for _, r, _, c, f in rows()])
# of those that the rules stopped, every fourth was let through to learn
EXPLORED = [(4 if r else 1, r, a, c, f) for i, r, a, c, f in rows()
            if not r or (i // 5) % 4 == 0]
figures('explored agent', [(w, r, a, f) for w, r, a, _, f in EXPLORED])
figures('explored coin', [(w, r, c, f) for w, r, _, c, f in EXPLORED])

# 20 complete days of 50 rows, 0.001 USD each and 0.0001 more a day
DAYS = [1000 * (0.001 + 0.0001 * day) for day in range(1, 21)]
print('cost variation %.6f' % (stdev(DAYS) / mean(DAYS)))
