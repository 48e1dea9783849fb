#!/usr/bin/env python3
"""Expected figures of test/pgtap/views_shadow.sql, from the formulas alone.

The counts below are those of the rows that the test inserts; nothing here
reads the extension's SQL.  Wilson (1927), Cohen (1960), Manski (1990).
"""
from math import sqrt

Z = 1.959963984540054


def wilson(k, n):
    p = k / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return max(centre - half, 0), min(centre + half, 1)


def kappa(pairs):
    """pairs: {(rules, agent): n}"""
    n = sum(pairs.values())
    p_o = sum(c for (a, b), c in pairs.items() if a == b) / n
    p_e = sum(sum(c for (a, _), c in pairs.items() if a == v)
              * sum(c for (_, b), c in pairs.items() if b == v)
              for v in {v for pair in pairs for v in pair}) / n ** 2
    return None if p_e == 1 else (p_o - p_e) / (1 - p_e)


def show(name, *values):
    print(name, *('NULL' if v is None else f'{v:.6f}' for v in values))


def rates(name, tp, fp, tn, fn):
    n = tp + fp + tn + fn
    show(name + ' accuracy', (tp + tn) / n, *wilson(tp + tn, n))
    show(name + ' fpr', fp / (fp + tn), *wilson(fp, fp + tn))
    show(name + ' fnr', fn / (fn + tp), *wilson(fn, fn + tp))
    show(name + ' precision recall f1', tp / (tp + fp), tp / (tp + fn),
         2 * tp / (2 * tp + fp + fn))


def bounds(name, tp, fp, tn, fn, u1, u0):
    """u1, u0: rows without any possible label, called positive or not."""
    n = tp + fp + tn + fn + u1 + u0
    show(name + ' accuracy bounds', (tp + tn) / n, (tp + tn + u1 + u0) / n)
    show(name + ' fpr bounds', fp / (fp + tn + u0),
         (fp + u1) / (fp + u1 + tn))
    show(name + ' fnr bounds', fn / (fn + tp + u1),
         (fn + u0) / (fn + u0 + tp))


# shadow_vs_rules: 21 asked, 17 valid answers
ANSWER = {('approve', 'approve'): 10, ('approve', 'decline'): 4,
          ('review', 'review'): 2, ('decline', 'approve'): 1}
EFFECTIVE = {('approve', 'approve'): 11, ('approve', 'decline'): 3,
             ('review', 'review'): 2, ('decline', 'approve'): 1}
show('coverage', 17 / 21)
show('answer', 12 / 17, *wilson(12, 17), kappa(ANSWER))
show('effective', 13 / 17, *wilson(13, 17), kappa(EFFECTIVE))
show('always approve', 2 / 2, *wilson(2, 2),
     kappa({('approve', 'approve'): 2}))

# agent_accuracy with complete labels, answered: rows and labels as in the
# test's table of rows
rates('agent positive answered', 4, 2, 9, 2)
rates('agent tightest answered', 3, 1, 10, 3)
rates('rules positive answered', 2, 1, 10, 4)
rates('agent positive operated', 4, 2, 11, 3)

# the same without complete labels: the two rows that the rules declined can
# have no label; answered has one of them, where the agent said approve
bounds('agent positive answered', 4, 2, 9, 1, 0, 1)
bounds('rules positive answered', 1, 1, 10, 4, 1, 0)

# weights 1/propensity: 1 fraud seen of propensity 0.25, flagged; 2 legit of
# propensity 1, one flagged: tp 4, fp 1, tn 1
show('weighted', 5 / 6, 1 / 2, 0, 4 / 5, 1, 8 / 9)
show('effective n', (4 + 1 + 1) ** 2 / (16 + 1 + 1))
