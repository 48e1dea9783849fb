#!/usr/bin/python3
"""Answers for test/unit/test_logistic.c, computed another way.

Writes logistic_cases.h: data sets made here, and for each the optimum of

    -log likelihood + l2 / 2 |coefficients|^2

on standardised inputs, found in 60-digit decimal arithmetic by Newton's
method with Gaussian elimination (the code under test: doubles, Cholesky, step
halving); the gradient at the answer is asserted to vanish. The area under the
curve is counted over all pairs, average precision and precision@100 from their
definitions, over all orders of ties where that matters.

Run: test/oracle/logistic.py > test/oracle/logistic_cases.h
"""
from decimal import Decimal, getcontext
from fractions import Fraction
import math
import random

getcontext().prec = 60
D = Decimal


def solve(matrix, right):
    """Gaussian elimination with pivoting."""
    n = len(right)
    rows = [list(matrix[i]) + [right[i]] for i in range(n)]
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(k + 1, n):
            factor = rows[i][k] / rows[k][k]
            for j in range(k, n + 1):
                rows[i][j] -= factor * rows[k][j]
    answer = [D(0)] * n
    for k in reversed(range(n)):
        rest = sum((rows[k][j] * answer[j] for j in range(k + 1, n)), D(0))
        answer[k] = (rows[k][n] - rest) / rows[k][k]
    return answer


def fit(x, y, l2):
    d = len(x[0])
    mean, scale = [], []
    for k in range(d):
        present = [D(row[k]) for row in x if not math.isnan(row[k])]
        m = sum(present) / len(present) if present else D(0)
        variance = (sum((v - m) ** 2 for v in present) / len(present)
                    if present else D(0))
        mean.append(m)
        scale.append(variance.sqrt() if variance > 0 else D(1))
    z = [[D(1)] + [D(0) if math.isnan(v) else (D(v) - mean[k]) / scale[k]
                   for k, v in enumerate(row)] for row in x]
    penalty = [D(0)] + [D(l2)] * d
    beta = [D(0)] * (d + 1)
    # Columns that never vary stay at 0, so that l2 = 0 has one answer.
    varies = [0] + [k + 1 for k in range(d)
                    if any(row[k + 1] != 0 for row in z)]
    for _ in range(60):
        p = [1 / (1 + (-sum(b * v for b, v in zip(beta, row))).exp())
             for row in z]
        gradient = [sum((y[i] - p[i]) * z[i][k] for i in range(len(z)))
                    - penalty[k] * beta[k] for k in varies]
        hessian = [[sum(p[i] * (1 - p[i]) * z[i][k] * z[i][j]
                        for i in range(len(z)))
                    + (penalty[k] if k == j else 0)
                    for j in varies] for k in varies]
        step = solve(hessian, gradient)
        for k, s in zip(varies, step):
            beta[k] += s
        if max(abs(s) for s in step) < D("1e-45"):
            break
    assert max(abs(g) for g in gradient) < D("1e-35")
    probability = [1 / (1 + (-sum(b * v for b, v in zip(beta, row))).exp())
                   for row in z]
    loss = -sum((p if label else 1 - p).ln()
                for p, label in zip(probability, y))
    loss += D(l2) / 2 * sum(b * b for b in beta[1:])
    return mean, scale, beta, probability, loss


def auc(scores, labels):
    pos = [s for s, l in zip(scores, labels) if l]
    neg = [s for s, l in zip(scores, labels) if not l]
    wins = sum(Fraction(2 if a > b else 1 if a == b else 0, 2)
               for a in pos for b in neg)
    return wins / (len(pos) * len(neg))


def average_precision(scores, labels):
    total = Fraction(0)
    before = 0
    for threshold in sorted(set(scores), reverse=True):
        taken = [l for s, l in zip(scores, labels) if s >= threshold]
        total += (sum(taken) - before) * Fraction(sum(taken), len(taken))
        before = sum(taken)
    return total / sum(labels)


def precision_at(k, scores, labels):
    """Expected, if those tied with the k-th come in any order."""
    k = min(k, len(scores))
    bound = sorted(scores, reverse=True)[k - 1]
    above = [l for s, l in zip(scores, labels) if s > bound]
    tied = [l for s, l in zip(scores, labels) if s == bound]
    return (sum(above) + Fraction((k - len(above)) * sum(tied), len(tied))) / k


def number(v):
    if isinstance(v, float) and math.isnan(v):
        return "NAN"
    return repr(float(v))


def array(values, per_line=4):
    values = [number(v) for v in values]
    lines = [", ".join(values[i:i + per_line])
             for i in range(0, len(values), per_line)]
    return "{\n\t" + ",\n\t".join(lines) + "}"


def emit_fit(name, x, y, l2):
    mean, scale, beta, probability, loss = fit(x, y, l2)
    d = len(x[0])
    flat = [v for row in x for v in row]
    print(f"static const double {name}_x[] = {array(flat, d)};")
    print(f"static const unsigned char {name}_y[] = {{")
    for i in range(0, len(y), 20):
        print("\t" + ", ".join(map(str, y[i:i + 20])) + ",")
    print("};")
    for part, values in (("mean", mean), ("scale", scale),
                         ("beta", beta), ("p", probability)):
        print(f"static const double {name}_{part}[] = {array(values)};")
    print(f"#define {name.upper()}_L2 {number(l2)}")
    print(f"#define {name.upper()}_LOSS {number(loss)}\n")


def emit_metrics(name, scores, labels):
    print(f"static const AgentpayScored {name}_rows[] = {{")
    for i in range(0, len(scores), 4):
        print("\t" + ", ".join(f"{{{s!r}, {l}}}" for s, l in
                               zip(scores[i:i + 4], labels[i:i + 4])) + ",")
    print("};")
    for part, value in (("auc", auc(scores, labels)),
                        ("ap", average_precision(scores, labels)),
                        ("p100", precision_at(100, scores, labels))):
        print(f"#define {name.upper()}_{part.upper()} {number(value)}"
              f" /* {value} */" if value.denominator < 10 ** 9 else
              f"#define {name.upper()}_{part.upper()} {number(value)}")
    print()


def main():
    random.seed(1492)
    print("/* Written by logistic.py: data made there, and the answers. */")
    print("/* clang-format off */\n")

    # By hand: one input of -1 and 1, no penalty. P(y|1) = 3/4, P(y|-1) = 1/4,
    # so the coefficient is ln 3 and the intercept 0.
    emit_fit("hand", [[1.0]] * 4 + [[-1.0]] * 4, [1, 1, 1, 0, 0, 0, 0, 1], 0.0)

    def made(n, d, weights, bias, missing):
        x, y = [], []
        for _ in range(n):
            row = [round(random.gauss(10 * k, 10.0 ** (k - 1)), 4)
                   for k in range(d)]
            z = bias + sum(w * (v - 10 * k) / 10.0 ** (k - 1)
                           for k, (w, v) in enumerate(zip(weights, row)))
            y.append(int(random.random() < 1 / (1 + math.exp(-z))))
            x.append([math.nan if random.random() < missing else v
                      for v in row])
        return x, y

    x, y = made(60, 3, [1.5, -1.0, 0.5], -0.5, 0.15)
    emit_fit("mixed", x, y, 1.0)

    x, y = made(40, 2, [0.8, 0.8], -1.0, 0.0)
    x = [row + [7.0, math.nan] for row in x]  # constant, always missing
    emit_fit("idle", x, y, 0.25)

    x = [[float(i)] for i in range(20)]       # separable: the penalty bounds it
    emit_fit("apart", x, [int(i >= 10) for i in range(20)], 1.0)

    emit_metrics("plain", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
                 [1, 0, 1, 0, 0, 1])
    emit_metrics("ties", [0.5, 0.5, 0.5, 0.2, 0.2, 0.9], [1, 0, 0, 1, 0, 1])
    emit_metrics("flat", [0.3] * 7, [1, 0, 0, 1, 0, 0, 0])
    scores = [round(random.random(), 2) for _ in range(250)]
    labels = [int(random.random() < s / 2) for s in scores]
    emit_metrics("many", scores, labels)


main()
