#!/usr/bin/python3
"""Payments, and what pandas says about their windows, for test/sql/windows.sql.

Writes windows_payments.csv: generated payments in the order in which they are
inserted, with times that tie, rows that come late (some by days), keys and
values that are NULL; windows_answers.csv: the answers for each, with 12 digits;
and windows_reports.csv: rows of another table.

An answer is computed from its definition alone: of the rows inserted so far
with the same key and a time in (t - delay - over, t - delay], pandas' own
count, sum, mean, min, max, std, nunique. Where a key's rows are in the order of
their times, pandas' rolling windows are asserted to say the same.

Run in test/oracle with Debian's python3-pandas (1.5.3): ./windows.py
"""
import numpy as np
import pandas as pd

ROWS = 3000
random = np.random.RandomState(20180401)


def td(text):
    return pd.Timedelta(text)


# name, key, aggregate, value, over, delay, filter, include_current, default
WINDOWS = [
    ('n_1h', 'card', 'count', None, '1h', '0', None, True, None),
    ('n_30d', 'card', 'count', None, '30d', '0', None, True, None),
    ('n_before', 'card', 'count', None, '1h', '0', None, False, None),
    ('sum_6h', 'card', 'sum', 'amount', '6h', '0', None, True, None),
    ('sum_before', 'card', 'sum', 'amount', '6h', '0', None, False, '0'),
    ('avg_1d', 'card', 'avg', 'amount', '1d', '0', None, True, None),
    ('min_6h', 'card', 'min', 'amount', '6h', '0', None, True, None),
    ('max_1d', 'card', 'max', 'amount', '1d', '0', None, True, None),
    ('max_before', 'card', 'max', 'amount', '1h', '0', None, False, None),
    ('dev_1d', 'card', 'stddev', 'amount', '1d', '0', None, True, None),
    ('kinds_1d', 'card', 'count_distinct', 'country', '1d', '0', None, True,
     None),
    ('rate_6h', 'card', 'rate', 'declined', '6h', '0', None, True, None),
    ('int_sum', 'card', 'sum', 'points', '1d', '0', None, True, None),
    ('int_dev', 'card', 'stddev', 'points', '1d', '0', None, True, None),
    ('int_min', 'card', 'min', 'points', '1h', '0', None, True, None),
    ('flt_sum', 'card', 'sum', 'ratio', '1d', '0', None, True, None),
    ('flt_avg', 'card', 'avg', 'ratio', '1d', '0', None, True, None),
    ('flt_dev', 'card', 'stddev', 'ratio', '1d', '0', None, True, None),
    ('flt_max', 'card', 'max', 'ratio', '6h', '0', None, True, None),
    ('german', 'card', 'sum', 'amount', '1d', '0', ('country', 'DE'), True,
     None),
    ('bad_before', 'card', 'count', None, '1d', '0', ('declined', True), False,
     None),
    ('both_keys', 'card,country', 'avg', 'amount', '1d', '0', None, True,
     None),
    ('term_n', 'terminal', 'count', None, '1d', '1d', None, True, None),
    ('term_rate', 'terminal', 'rate', 'declined', '1d', '1d', None, True, '0'),
    ('term_rate_3d', 'terminal', 'rate', 'declined', '3d', '6h', None, True,
     None),
    ('term_cards', 'terminal', 'count_distinct', 'card', '3h', '10m', None,
     True, None),
    ('term_dev', 'terminal', 'stddev', 'amount', '1d', '1h', ('country', 'FR'),
     True, None),
]
# over the other table's rows
REPORTS = [
    ('rep_n', 'terminal', 'count', None, '2d', '0', None, True, None),
    ('rep_rate', 'terminal', 'rate', 'fraud', '2d', '12h', None, True, None),
    ('rep_loss', 'terminal', 'max', 'loss', '5d', '0', ('fraud', True), True,
     '-1'),
]
NAMES = [w[0] for w in WINDOWS] + [w[0] for w in REPORTS] + ['since', 'since_fr']


def missing(values, share):
    """As objects: None in that share of places."""
    out = pd.Series(list(values), dtype=object)
    out[random.uniform(size=len(out)) < share] = None
    return out


def payments():
    start = pd.Timestamp('2026-02-20 00:00:00')
    at = np.cumsum(random.exponential(9 * 86400 / ROWS, ROWS)).astype(int)
    tied = random.uniform(size=ROWS) < 0.15
    for i in range(1, ROWS):
        if tied[i]:
            at[i] = at[i - 1]
    late = random.uniform(size=ROWS)
    at[late < 0.06] -= random.randint(1, 7200, (late < 0.06).sum())
    at[late < 0.01] -= random.randint(86400, 5 * 86400, (late < 0.01).sum())
    frame = pd.DataFrame({
        'id': range(1, ROWS + 1),
        'card': missing(('c%d' % c for c in
                         np.minimum(random.zipf(1.3, ROWS), 40)), 0.02),
        'terminal': missing(random.randint(1, 26, ROWS), 0.02),
        'at': start + pd.to_timedelta(at, unit='s'),
        'amount': missing(np.round(random.lognormal(3.5, 1, ROWS), 2), 0.05),
        'points': missing(random.randint(-1000, 1000, ROWS), 0.05),
        'ratio': missing(np.round(random.uniform(-3, 9, ROWS), 6), 0.05),
        'country': missing(random.choice(['DE', 'FR', 'US', 'PL'], ROWS), 0.1),
        'declined': missing((bool(v) for v in
                             random.uniform(size=ROWS) < 0.15), 0.05)})
    shared = ['card', 'terminal', 'at']
    # ties within a card
    for i in range(20, ROWS, 31):
        frame.loc[i, shared] = frame.loc[i - 1, shared].values
    # the edges: exactly a window's length after another row of the card
    for i in range(300, ROWS, 11):
        apart = td(str(random.choice(['10m', '1h', '6h', '1d', '3d'])))
        old = frame.iloc[:i][frame['at'][:i] <= frame['at'][i] - apart]
        if len(old):
            frame.loc[i, shared] = old.loc[old['at'].idxmax(), shared].values
            frame.loc[i, 'at'] += apart
    return frame


def reports(frame):
    n = 600
    chosen = frame.sample(n, random_state=7)
    return pd.DataFrame({
        'terminal': chosen['terminal'].values,
        'seen_at': chosen['at'].values
        + pd.to_timedelta(random.randint(0, 86400, n), unit='s'),
        'fraud': missing((bool(v) for v in random.uniform(size=n) < 0.3), 0.05),
        'loss': missing(np.round(random.lognormal(4, 1, n), 2), 0.1)})


def aggregate(how, values):
    """pandas' answer; None where there is none."""
    if how == 'count':
        return len(values)
    values = values.dropna()
    if how == 'count_distinct':
        return values.nunique()
    if how == 'sum':
        answer = values.astype(float).sum(min_count=1)
    elif how in ('avg', 'rate'):
        answer = values.astype(float).mean()
    elif how == 'stddev':
        answer = values.astype(float).std(ddof=1)
    else:
        answer = getattr(values.astype(float), how)()
    return None if pd.isna(answer) else answer


def answer_of(window, row, rows, time):
    """Of one row: rows are those that may count, with the same key."""
    _, _, how, value, over, delay, only, current, default = window
    end = row['at'] - td(delay)
    rows = rows[(rows[time] > end - td(over)) & (rows[time] <= end)]
    if not current and time == 'at':
        rows = rows[rows['id'] != row['id']]
    if only:
        rows = rows[rows[only[0]] == only[1]]
    answer = aggregate(how, rows[value] if value else rows)
    if answer is None and default is not None:
        return float(default)
    return answer


def with_key(rows, row, key):
    for column in key.split(','):
        if row[column] is None:
            return rows.iloc[:0]
        rows = rows[rows[column] == row[column]]
    return rows


def answers_of(row, before, others):
    """All answers for one row; before: the rows inserted so far, and it.

    A row whose key is NULL shares with none, but counts itself."""
    out = {}
    for key in sorted({w[1] for w in WINDOWS}):
        rows = with_key(before, row, key)
        if not len(rows):
            rows = before.iloc[-1:]
        for window in WINDOWS:
            if window[1] == key:
                out[window[0]] = answer_of(window, row, rows, 'at')
    rows = with_key(others, row, 'terminal')
    for window in REPORTS:
        out[window[0]] = answer_of(window, row, rows, 'seen_at')
    rows = with_key(before.iloc[:-1], row, 'card')
    rows = rows[rows['at'] <= row['at']]
    for name, rows in (('since', rows),
                       ('since_fr', rows[rows['country'] == 'FR'])):
        out[name] = (None if not len(rows) else
                     (row['at'] - rows['at'].max()).total_seconds())
    return out


def check_rolling(frame, answers):
    """Where nothing is late, rolling windows are another road to the answer."""
    checked = 0
    for _, rows in frame[frame['card'].notna()].groupby('card'):
        if not rows['at'].is_monotonic_increasing:
            rows = rows[rows['at'] == rows['at'].cummax()]
            rows = rows[:0] if len(rows) < 3 else rows
            late = frame[(frame['card'] == rows['card'].iloc[0])
                         & ~frame['id'].isin(rows['id'])] if len(rows) else rows
            # only those before the first late row was inserted
            rows = rows[rows['id'] < late['id'].min()] if len(late) else rows
        if not len(rows):
            continue
        amount = rows.set_index('at')['amount'].astype(float)
        for name, over, how in (('sum_6h', '6h', 'sum'), ('avg_1d', '1d', 'mean'),
                                ('min_6h', '6h', 'min'), ('max_1d', '1d', 'max'),
                                ('dev_1d', '1d', 'std')):
            want = getattr(amount.rolling(over, min_periods=1), how)()
            for i, value in zip(rows['id'], want):
                mine = answers[i - 1][name]
                assert (mine is None and np.isnan(value)) \
                    or abs(mine - value) < 1e-6 * max(1, abs(value)), \
                    (name, i, mine, value)
                checked += 1
    assert checked > 1000, checked
    return checked


def text(value):
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ''
    if isinstance(value, (bool, np.bool_)):
        return 't' if value else 'f'
    if isinstance(value, (float, np.floating)):
        return '%.12g' % value
    if isinstance(value, pd.Timestamp):
        return '%s+00' % value
    return str(value)


def write(name, header, lines):
    with open(name, 'w', encoding='utf-8') as f:
        f.write(','.join(header) + '\n')
        for line in lines:
            f.write(','.join(text(v) for v in line) + '\n')


def main():
    frame = payments()
    others = reports(frame)
    answers = [answers_of(frame.iloc[i], frame.iloc[:i + 1], others)
               for i in range(ROWS)]
    checked = check_rolling(frame, answers)
    columns = list(frame.columns)
    write('windows_payments.csv', columns,
          ([row[c] for c in columns] for _, row in frame.iterrows()))
    write('windows_answers.csv', ['id'] + NAMES,
          ([i + 1] + [answer[n] for n in NAMES]
           for i, answer in enumerate(answers)))
    write('windows_reports.csv', list(others.columns),
          ([row[c] for c in others.columns] for _, row in others.iterrows()))
    late = (frame['at'] < frame['at'].cummax()).sum()
    ties = frame[frame['card'].notna()].duplicated(['card', 'at']).sum()
    print('%d rows, %d late, %d ties within a card, %d values also by rolling()'
          % (ROWS, late, ties, checked))


main()
