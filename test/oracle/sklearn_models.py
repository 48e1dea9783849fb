#!/usr/bin/python3
"""Prints TAP: train_logistic() beside scikit-learn's LogisticRegression.

Reads, in the current directory, what sklearn_rows.sql wrote. scikit-learn gets
the same rows, standardised here, missing values at the mean; its C is 1 / l2.
The first 70 % are fitted to, the rest is measured on.

Needs Debian's python3-sklearn (1.2.1) and python3-pandas.
"""
import json
import math
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

tests = 0


def check(name, got, want, tolerance):
    global tests
    tests += 1
    apart = np.max(np.abs(np.asarray(got, float) - np.asarray(want, float)))
    print('%s %d - %s: at most %.2g apart' %
          ('ok' if apart <= tolerance else 'not ok', tests, name, apart))


for _, row in pd.read_csv('models.csv').iterrows():
    frame = pd.read_csv(row['name'] + '.csv')
    x = frame.drop(columns='fraud').to_numpy(float)
    y = frame['fraud'].to_numpy()
    n = math.ceil(len(y) * (1 - 0.3))
    mean = np.nanmean(x[:n], axis=0)
    scale = np.nanstd(x[:n], axis=0)
    scale[scale == 0] = 1
    z = np.nan_to_num((x - mean) / scale, nan=0)
    model = LogisticRegression(C=1 / row['l2'], solver='newton-cholesky',
                               tol=1e-10, max_iter=1000)
    model.fit(z[:n], y[:n])
    p = model.predict_proba(z[n:])[:, 1]
    ours = json.loads(row['definition'])
    scores = 1 / (1 + np.exp(-(ours['intercept'] + z @ ours['coefficients'])))
    of = '%s, l2 %g, ' % (row['name'], row['l2'])
    check(of + 'mean', ours['mean'] / np.maximum(1, np.abs(mean)),
          mean / np.maximum(1, np.abs(mean)), 1e-9)
    check(of + 'scale', ours['scale'] / scale, np.ones(len(scale)), 1e-9)
    check(of + 'coefficients', ours['coefficients'], model.coef_[0], 1e-3)
    check(of + 'AUC', row['auc'], roc_auc_score(y[n:], p), 0.002)
    check(of + 'AUC of the same scores', row['auc'],
          roc_auc_score(y[n:], scores[n:]), 1e-9)
    check(of + 'average precision', row['average_precision'],
          average_precision_score(y[n:], p), 0.002)
    check(of + 'average precision of the same scores',
          row['average_precision'],
          average_precision_score(y[n:], scores[n:]), 1e-9)
    check(of + 'precision@100', row['precision_at_100'],
          y[n:][np.argsort(-p, kind='stable')[:100]].mean(), 0.0101)
    check(of + 'converged', row['converged'] == 't', True, 0)
print('1..%d' % tests)
