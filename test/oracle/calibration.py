#!/usr/bin/env python3
"""Expected figures of test/pgtap/views_calibration.sql, from the formulas alone.

The rows are those that the test makes by the same arithmetic.  Brier (1950);
Guo et al. (2017), over ten bins of equal mass, joined until each has five
positives.
"""
from struct import pack, unpack


def real(x):
    return unpack('f', pack('f', x))[0]


ROWS = []
for i in range(1, 301):
    confidence = real(((i * 37) % 100 + 0.5) / 100)
    score = ((i * 17) % 100 + 0.5) / 100
    fraud = (i * 53) % 100 < 100 * score * score
    said = 'decline' if i % 3 == 0 else 'approve'
    ROWS.append((confidence, (said == 'decline') == fraud, score, fraud))


def calibration(name, pairs):
    pairs = sorted(pairs)
    n = len(pairs)
    # a thousandth is never split: it goes where its middle lies
    tenths = {}
    seen = 0
    for bucket in sorted({int(p * 1000) for p, _ in pairs}):
        cell = [(p, y) for p, y in pairs if int(p * 1000) == bucket]
        tenth = min(9, int(10 * (seen + len(cell) / 2) / n))
        tenths.setdefault(tenth, []).append((bucket, cell))
        seen += len(cell)
    bins = []
    current = []
    for tenth in sorted(tenths):
        current += tenths[tenth]
        if sum(y for _, cell in current for _, y in cell) >= 5:
            bins.append(current)
            current = []
    if current:
        bins[-1] += current
    brier = sum((p - y) ** 2 for p, y in pairs) / n
    mean = sum(y for _, y in pairs) / n
    ece = 0
    rows = []
    for one in bins:
        cell = [pair for _, part in one for pair in part]
        said = sum(p for p, _ in cell)
        true = sum(y for _, y in cell)
        ece += abs(said - true) / n
        rows.append((one[0][0] / 1000, (one[-1][0] + 1) / 1000, len(cell),
                     said / len(cell), true / len(cell)))
    for number, row in enumerate(rows, 1):
        print("	('%s', %d, %.3f, %.3f, %d::bigint, %.6f, %.6f)," % (name, number, *row))
    print('# %s: brier %.6f skill %.6f o/e %.6f ece %.6f' % (
        name, brier, 1 - brier / (mean * (1 - mean)),
        mean * n / sum(p for p, _ in pairs), ece))


calibration('confidence', [(c, right) for c, right, _, _ in ROWS])
calibration('score', [(s, fraud) for _, _, s, fraud in ROWS])
