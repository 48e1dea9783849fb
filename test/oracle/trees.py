#!/usr/bin/python3
"""Models and answers for test/unit/test_trees.c and test/sql/models.sql, made
with XGBoost itself (Debian's python3-xgboost, 1.7.4) on data generated here.

Writes trees_cases.h: for each model its JSON, rows with missing values, and
XGBoost's own predictions for them; and the first model alone, whole, as
trees_binary.json, with rows and predictions in trees_binary.csv.

Run in test/oracle: ./trees.py
"""
import json
import re
import tempfile
import numpy as np
import xgboost as xgb

random = np.random.RandomState(20261125)
INPUTS = 4


def rows(n):
    x = np.empty((n, INPUTS))
    x[:, 0] = np.round(random.lognormal(3.5, 1, n), 2)  # an amount
    x[:, 1] = random.poisson(3, n)
    x[:, 2] = random.uniform(0, 1, n)
    x[:, 3] = random.randint(0, 2, n)
    x[random.uniform(size=x.shape) < 0.1] = np.nan
    return x


train = rows(3000)
known = np.nan_to_num(train, nan=1)
risk = 1 / (1 + np.exp(-(known[:, 0] / 40 + known[:, 1] / 3 - known[:, 2] * 3
                         + 2 * known[:, 3] * (known[:, 1] > 4) - 3)))
fraud = (random.uniform(size=3000) < risk).astype(int)
kind = np.clip(known[:, 1].astype(int) // 2, 0, 2)
loss = known[:, 0] * (0.5 + known[:, 2])
asked = rows(60)
asked[0] = np.nan
dtrain = {name: xgb.DMatrix(train, label=label) for name, label in
          {'fraud': fraud, 'kind': kind, 'loss': loss}.items()}

CASES = [
    # name, label, rounds, parameters
    ('binary', 'fraud', 12, {'objective': 'binary:logistic', 'max_depth': 4,
                             'eta': 0.4, 'base_score': 0.02}),
    ('softprob', 'kind', 3, {'objective': 'multi:softprob', 'num_class': 3,
                             'max_depth': 2}),
    ('softmax', 'kind', 2, {'objective': 'multi:softmax', 'num_class': 3,
                            'max_depth': 2}),
    ('squarederror', 'loss', 4, {'objective': 'reg:squarederror',
                                 'max_depth': 3}),
    ('absoluteerror', 'loss', 3, {'objective': 'reg:absoluteerror',
                                  'max_depth': 2}),
    ('poisson', 'kind', 3, {'objective': 'count:poisson', 'max_depth': 2}),
    ('gamma', 'loss', 3, {'objective': 'reg:gamma', 'max_depth': 2,
                          'base_score': 20}),
    ('tweedie', 'loss', 2, {'objective': 'reg:tweedie', 'max_depth': 2}),
    ('hinge', 'fraud', 3, {'objective': 'binary:hinge', 'max_depth': 2}),
    ('forest', 'fraud', 2, {'objective': 'reg:logistic', 'max_depth': 3,
                            'num_parallel_tree': 3, 'subsample': 0.6,
                            'seed': 1}),
    ('squaredlogerror', 'loss', 3, {'objective': 'reg:squaredlogerror',
                                    'max_depth': 2}),
    ('pseudohuber', 'loss', 3, {'objective': 'reg:pseudohubererror',
                                'max_depth': 2}),
    # leaf-wise growth and pruning leave nodes that no path reaches
    ('pruned', 'fraud', 3, {'objective': 'binary:logistic', 'max_depth': 5,
                            'gamma': 12, 'tree_method': 'exact'}),
]


def literal(text):
    """Lines of C string literals."""
    text = text.replace('\\', '\\\\').replace('"', '\\"')
    parts, at = [], 0
    while at < len(text):
        end = min(at + 72, len(text))
        while text[end - 1] == '\\' and end < len(text):
            end += 1
        parts.append('\t"%s"' % text[at:end])
        at = end
    return '\n'.join(parts)


def number(value):
    return 'NAN' if np.isnan(value) else repr(float(value))


def saved(model):
    """The model's JSON as XGBoost saves it."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_model(directory + '/model.json')
        with open(directory + '/model.json', encoding='utf-8') as f:
            return f.read()


def shorter(text):
    """Without what training saw, which no prediction reads."""
    return re.sub(r'"(base_weights|loss_changes|sum_hessian|parents|'
                  r'categories\w*)":\[[^]]*\],?', '', text)


out = []
out.append('/* Written by trees.py: models and predictions of XGBoost\n   %s, without what only training reads. */'
           % xgb.__version__)
out.append('/* clang-format off */\n')
out.append('#define TREES_INPUTS %d' % INPUTS)
out.append('#define TREES_ROWS %d' % len(asked))
out.append('\nstatic const double trees_rows[TREES_ROWS][TREES_INPUTS] = {')
for row in asked:
    out.append('\t{%s},' % ', '.join(number(v) for v in row))
out.append('};\n')

names = []
for name, label, rounds, params in CASES:
    model = xgb.train({**params, 'nthread': 1}, dtrain[label], rounds)
    answers = model.predict(xgb.DMatrix(asked))
    if name == 'softmax':  # the class; what is asked for is its probability
        again = model.copy()
        again.set_param({'objective': 'multi:softprob'})
        answers = again.predict(xgb.DMatrix(asked))
    if answers.ndim == 2:  # each class, and without a choice the last
        if name == 'softprob':
            for c in range(answers.shape[1]):
                names.append(('softprob_%d' % c,
                              '{"xgboost":%s,"class":%d}' % (saved(model), c),
                              answers[:, c]))
        answers = answers[:, -1]
    names.append((name, saved(model), answers))
    if name == 'pruned':
        assert re.search('"num_deleted":"[1-9]', names[-1][1])
    if name == 'binary':
        with open('trees_binary.json', 'w', encoding='utf-8') as f:
            f.write(saved(model) + '\n')
        with open('trees_binary.csv', 'w', encoding='utf-8') as f:
            for row, answer in zip(asked, answers):
                f.write(','.join('' if np.isnan(v) else repr(float(v))
                                 for v in row) + ',%.9g\n' % answer)

stopped = xgb.XGBClassifier(n_estimators=40, max_depth=3, learning_rate=1.0,
                            early_stopping_rounds=3, n_jobs=1)
stopped.fit(train[:800], fraud[:800], eval_set=[(train[800:], fraud[800:])],
            verbose=False)
assert stopped.best_iteration + 4 == stopped.get_booster().num_boosted_rounds()
names.append(('stopped', saved(stopped), stopped.predict_proba(asked)[:, 1]))

names = [(name, shorter(text), answers) for name, text, answers in names]
for name, text, answers in names:
    out.append('static const char trees_%s[] =\n%s;\n' % (name, literal(text)))
    out.append('static const double trees_%s_answers[TREES_ROWS] = {' % name)
    for at in range(0, len(answers), 6):
        out.append('\t' + ' '.join('%.9g,' % v for v in answers[at:at + 6]))
    out.append('};\n')
out.append('static const struct')
out.append('{\n\tconst char *name;\n\tconst char *text;\n\tsize_t len;')
out.append('\tconst double *answers;\n} trees_cases[] = {')
for name, text, answers in names:
    out.append('\t{"%s", trees_%s, sizeof(trees_%s) - 1, trees_%s_answers},'
               % (name, name, name, name))
out.append('};')
with open('trees_cases.h', 'w', encoding='utf-8') as f:
    f.write('\n'.join(out) + '\n')
for name, text, answers in names:
    parsed = json.loads(text)
    print(name, len(text), answers[:3],
          parsed.get('xgboost', parsed)['learner']['learner_model_param'])
