#!/usr/bin/python3
"""Throws generated expressions at the check of rules, in a running server.

expressions.py <psql> <directory of the socket> <names file> <seed file> <seconds> [<seed>]

Expressions are well-typed calls of any function and operator that PostgreSQL
has, listed or not, and pieces of the seed file's lines put together anew.
Prints TAP; not ok is

- a crash of the server, or an internal error (XX000 and the like; that a call
  of interval(…, 3) has "typmod" in its message is PostgreSQL's own doing);
- an accepted expression whose view, made by PostgreSQL itself, reads something
  that is not on the list in the names file (src/scoring/expression_names.c), or
  has a node that no expression may have: found in pg_rewrite, not by agentpay;
- a row with accepted rules that is not decided about, or takes seconds.
"""
import random
import re
import subprocess
import sys
import time

PSQL, SOCKET, NAMES, SEEDS, SECONDS = sys.argv[1:6]
SEED = int(sys.argv[6]) if len(sys.argv) > 6 else int(time.time())
PER_ROUND = 300
DEADLINE = time.time() + float(SECONDS)
rng = random.Random(SEED)
tests = failures = 0

COLUMNS = {
    'bigint': ['payment_id'], 'timestamp with time zone': ['created_at'],
    'date': ['booked'], 'numeric': ['amount'], 'integer': ['quantity'],
    'double precision': ['ratio'], 'text': ['country', 'card'],
    'inet': ['source'], 'uuid': ['device'], 'jsonb': ['meta'],
    'text[]': ['tags'], 'boolean': ['flagged'], 'interval': ['age_of']}
LITERALS = {
    'bigint': ['9223372036854775807', "'-1'::bigint"],
    'integer': ['0', '1', '-1', '2147483647', '65536'],
    'smallint': ["'7'::smallint"],
    'numeric': ['0.5', '1e10', "'NaN'::numeric", '1e130000', '-1e-300'],
    'double precision': ["'1e308'::float8", "'NaN'::float8", '0.1::float8'],
    'real': ["'1e38'::real"],
    'text': ["'x'", "''", "'%_%'", "'(a+)+$'", "'\\u00e9'", "'2026-01-01'",
             "'pg_class'", "'select 1'", "E'\\\\1'"],
    'boolean': ['true', 'false', 'NULL'],
    'date': ["'2026-03-01'::date", "'infinity'::date"],
    'timestamp with time zone': ["'2026-03-01 00:00+00'::timestamptz"],
    'timestamp without time zone': ["'2026-03-01'::timestamp"],
    'time without time zone': ["'12:00'::time"],
    'interval': ["'1 day'::interval", "'-178000000 years'::interval"],
    'inet': ["'10.0.0.0/8'::inet"], 'cidr': ["'10.0.0.0/8'::cidr"],
    'uuid': ["'00000000-0000-0000-0000-000000000001'::uuid"],
    'jsonb': ["'{\"a\": [1, {\"b\": null}]}'::jsonb"],
    'text[]': ["'{a,b}'::text[]"], 'integer[]': ["'{1,2}'::int[]"],
    'regclass': ["'pg_class'::regclass"], 'name': ["'x'::name"],
    'json': ["'{}'::json"], 'xml': ["'<a/>'::xml"], 'bytea': ["'\\x00'::bytea"],
    'oid': ["'1'::oid"], 'tsquery': ["'a'::tsquery"],
    'refcursor': ["'c'::refcursor"], '"char"': ["'a'::\"char\""]}

SET_UP = r"""
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS agentpay;
CREATE SCHEMA fuzz;
CREATE TABLE fuzz.payments (payment_id bigint PRIMARY KEY, created_at timestamptz NOT NULL, booked date, amount numeric,
	quantity int, ratio float8, country text, card text, source inet, device uuid, meta jsonb, tags text[], flagged boolean,
	age_of interval, outcome text);
SELECT agentpay.attach('fuzz.payments', 'fuzz', 'fraud', 'payment_id', 'created_at', outcome => 'outcome');
INSERT INTO agentpay.lists (name) VALUES ('blocked');
CREATE TABLE fuzz.names (name text PRIMARY KEY);
CREATE TABLE fuzz.accepted (id int GENERATED ALWAYS AS IDENTITY, expression text);
-- What the expression uses, as PostgreSQL's own view of it says.
CREATE FUNCTION fuzz.uses(expression text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	tree text;
	found text;
BEGIN
	EXECUTE 'CREATE VIEW fuzz.v AS SELECT (' || expression || E'\n) AS x FROM fuzz.payments';
	SELECT ev_action INTO tree FROM pg_rewrite WHERE ev_class = 'fuzz.v'::regclass;
	RETURN concat_ws(' ',
		(SELECT string_agg(DISTINCT 'function ' || p.proname, ', ') FROM regexp_matches(tree, ':funcid (\d+)', 'g') AS m
		   JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.proname NOT IN (SELECT name FROM fuzz.names)),
		(SELECT string_agg(DISTINCT 'operator ' || o.oprname, ', ') FROM regexp_matches(tree, ':opno (\d+)', 'g') AS m
		   JOIN pg_operator o ON o.oid = m[1]::oid WHERE o.oprname NOT IN (SELECT name FROM fuzz.names)),
		(SELECT string_agg(DISTINCT 'volatile ' || p.proname, ', ') FROM regexp_matches(tree, ':(?:funcid|opfuncid) (\d+)', 'g') AS m
		   JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile = 'v'),
		(SELECT string_agg(DISTINCT 'node ' || m[1], ', ') FROM regexp_matches(tree,
			'\{(SUBLINK|AGGREF|WINDOWFUNC|SQLVALUEFUNCTION|NEXTVALUEEXPR|XMLEXPR|ROW|FIELDSELECT|COERCETODOMAIN|CURRENTOFEXPR|GROUPINGFUNC|JSONEXPR|MERGESUPPORTFUNC)\M', 'g') AS m),
		(SELECT 'targets ' || count(*) FROM regexp_matches(tree, '\{(?:TARGETENTRY|TLE)\M', 'g') HAVING count(*) <> 1));
END$$;
CREATE FUNCTION fuzz.try(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	used text;
BEGIN
	BEGIN
		PERFORM agentpay._check_expression('fuzz.payments', 'fuzz', expression, 'boolean', 'rule');
	EXCEPTION WHEN OTHERS THEN
		RETURN CASE WHEN SQLSTATE LIKE 'XX%' AND SQLERRM !~* 'interval typmod' THEN 'INTERNAL ' || SQLSTATE || ' ' || SQLERRM
			ELSE 'refused ' || SQLSTATE END;
	END;
	INSERT INTO fuzz.accepted (expression) VALUES (expression);
	IF expression ~ 'in_list|model' THEN RETURN 'accepted'; END IF;
	BEGIN
		used := fuzz.uses(expression);
		RAISE SQLSTATE 'FZ001';
	EXCEPTION WHEN SQLSTATE 'FZ001' THEN
		RETURN CASE used WHEN '' THEN 'accepted' ELSE 'UNLISTED ' || used END;
	WHEN OTHERS THEN
		RETURN 'UNVIEWABLE ' || SQLSTATE || ' ' || SQLERRM;
	END;
END$$;
-- Rows that meet all accepted expressions as rules.
CREATE FUNCTION fuzz.decide() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
	made int;
	internal text;
	first bigint := (SELECT coalesce(max(payment_id), 0) + 1 FROM fuzz.payments);
	draft int := agentpay.draft('fuzz');
BEGIN
	DELETE FROM agentpay.rules WHERE point = 'fuzz' AND version = draft;
	INSERT INTO agentpay.rules (point, version, code, condition)
	SELECT 'fuzz', draft, 'R' || id, expression FROM fuzz.accepted;
	IF NOT FOUND THEN RETURN 'none'; END IF;
	PERFORM agentpay.activate('fuzz');
	INSERT INTO fuzz.payments (payment_id, created_at) VALUES (first, '2026-03-01+00');
	INSERT INTO fuzz.payments VALUES (first + 1, '2026-03-01+00', '2026-03-01', 12.5, 3, 0.5, 'DE', 'card-9', '10.1.1.1',
		'00000000-0000-0000-0000-000000000001', '{"a": [1, {"b": null}]}', '{a,b}', true, '1 day');
	INSERT INTO fuzz.payments VALUES (first + 2, 'infinity', 'infinity', 'NaN', -2147483648, 'NaN', repeat('x', 3000),
		repeat('é', 3000), '::/0', NULL, to_jsonb(repeat('y', 3000)), ARRAY[NULL]::text[], false, '178000000 years');
	INSERT INTO fuzz.payments VALUES (first + 3, '4713-01-01 BC+00', '-infinity', 1e1000, 2147483647, 'Infinity', '', E'\n\\',
		'255.255.255.255/1', NULL, 'null', '{}', NULL, '-178000000 years');
	SELECT count(DISTINCT d.row_id), max(e.value::text) FILTER (WHERE e.value->>'sqlstate' LIKE 'XX%'
		AND e.value->>'message' !~* 'interval typmod') INTO made, internal
	  FROM agentpay.decisions d
	  LEFT JOIN LATERAL jsonb_each(d.detail->'errors') AS e (key, value) ON true
	 WHERE point = 'fuzz' AND row_id::bigint >= first;
	DELETE FROM fuzz.accepted;
	RETURN CASE WHEN internal IS NOT NULL THEN 'INTERNAL ' || internal
		WHEN made <> 4 THEN 'UNDECIDED ' || made || ' of 4'
		WHEN clock_timestamp() - began > interval '20 seconds' THEN 'SLOW ' || (clock_timestamp() - began)
		ELSE 'decided' END;
END$$;
"""


def psql(script, timeout=120):
    """What psql prints; raises when the server does not answer."""
    done = subprocess.run([PSQL, '-X', '-q', '-A', '-t', '-h', SOCKET, '-U',
                           'postgres', '-d', 'fuzz'], input=script, text=True,
                          capture_output=True, timeout=timeout, check=False)
    if done.returncode == 2 or 'connection to server was lost' in done.stderr:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout, done.stderr


def check(holds, name, *notes):
    global tests, failures
    tests += 1
    failures += not holds
    print('%s %d - %s' % ('ok' if holds else 'not ok', tests, name))
    for note in notes if not holds else ():
        print('# ' + note.replace('\n', '\n# '), flush=True)


def catalog():
    """Functions and operators by result type, those that can be written."""
    out, _ = psql("""
        SELECT 'f', proname, prorettype::regtype, array_to_string(proargtypes::regtype[], ';') FROM pg_proc
         WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a', 'w') AND NOT proretset AND pronargs <= 5
        UNION ALL SELECT 'o', oprname, oprresult::regtype, concat_ws(';', nullif(oprleft, 0)::regtype, oprright::regtype)
          FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace;""")
    made = {}
    for line in out.splitlines():
        kind, name, result, args = line.split('|', 3) if line.count('|') == 3 \
            else (None, None, None, None)
        if kind is None:  # an operator's name has the separator
            kind, rest = line.split('|', 1)
            name, result, args = rest.rsplit('|', 2)
        args = args.split(';') if args else []
        if all(a in LITERALS for a in args):
            made.setdefault(result, []).append((kind, name, args))
    return made


def generate(kind, depth, made, listed):
    """An expression of that type."""
    roll = rng.random()
    if depth <= 0 or roll < 0.2:
        leaves = COLUMNS.get(kind, []) * 2 + LITERALS.get(kind, ['NULL'])
        return rng.choice(leaves)
    deeper = lambda k: generate(k, depth - 1, made, listed)
    if roll < 0.27:
        return 'CASE WHEN %s THEN %s ELSE %s END' % (
            deeper('boolean'), deeper(kind), deeper(kind))
    if roll < 0.32:
        return '%s(%s, %s)' % (rng.choice(['coalesce', 'nullif', 'greatest']),
                               deeper(kind), deeper(kind))
    if roll < 0.37:
        other = rng.choice(list(LITERALS))
        return '(%s)::%s' % (deeper(other), kind)
    if kind == 'boolean' and roll < 0.55:
        return '(%s %s %s)' % (deeper('boolean'), rng.choice(['AND', 'OR']),
                               deeper('boolean'))
    if kind == 'boolean' and roll < 0.6:
        other = rng.choice(list(COLUMNS))
        return '%s %s' % (deeper(other), rng.choice(
            ['IS NULL', 'IN (%s)' % deeper(other),
             'IS DISTINCT FROM %s' % deeper(other),
             '= ANY (ARRAY[%s])' % deeper(other),
             'BETWEEN %s AND %s' % (deeper(other), deeper(other)),
             'IN (SELECT 1)', '= (SELECT %s)' % deeper(other)]))
    choices = made.get(kind, [])
    if rng.random() < 0.7:
        choices = [c for c in choices if c[1] in listed] or choices
    if not choices:
        return rng.choice(LITERALS.get(kind, ['NULL']))
    what, name, args = rng.choice(choices)
    args = [deeper(a) for a in args]
    if what == 'o':
        return '(%s %s %s)' % (args[0], name, args[1]) if len(args) == 2 \
            else '(%s %s)' % (name, args[0])
    quoted = name if re.fullmatch('[a-z_][a-z0-9_]*', name) \
        and rng.random() < 0.5 else 'pg_catalog."%s"' % name
    return '%s(%s)' % (quoted, ', '.join(args))


TOKEN = re.compile(r"'(?:[^']|'')*'|\w+|[^\w\s]+|\s+")
STRANGE = ['(', ')', ';', '--', '/*', '*/', '$1', '$$', ':param', ',', '::',
           'OVER ()', 'FILTER (WHERE true)', 'COLLATE "C"', 'AT TIME ZONE',
           '[1:2]', '.*', 'payments.', 'current_user', 'now()', 'SELECT 1',
           'UNION', 'ROW(1)', 'tableoid', 'ctid', 'xmin', 'nextval(', 'U&"\\00"',
           'ARRAY[', 'VARIADIC', 'model(\'m\')', 'in_list(\'blocked\', card)',
           'in_list(', 'DEFAULT', 'GROUPING(', 'XMLPARSE(', 'JSON_', 'EXISTS(']


def mutate(lines):
    """Tokens of one seed, with pieces of another, or strange ones."""
    tokens = TOKEN.findall(rng.choice(lines))
    other = TOKEN.findall(rng.choice(lines))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(tokens) + 1)
        roll = rng.random()
        if roll < 0.3 and tokens:
            del tokens[at:at + rng.randint(1, 3)]
        elif roll < 0.6:
            start = rng.randrange(len(other) + 1)
            tokens[at:at] = other[start:start + rng.randint(1, 6)]
        elif roll < 0.9:
            tokens.insert(at, ' %s ' % rng.choice(STRANGE))
        else:
            tokens = tokens * rng.randint(1, 3)
    if rng.random() < 0.02:
        return '(' * rng.choice([100, 5000]) + ''.join(tokens)
    return ''.join(tokens)


def seeds_of(path):
    """The strings of a test file that may be conditions."""
    with open(path, encoding='utf-8') as f:
        text = f.read()
    return [s.replace("''", "'") for s in
            re.findall(r"'((?:[^'\n]|''){3,300})'", text)] + \
        ['amount > 10', "country = 'DE' AND quantity IS NULL"]


def literal(text):
    """A string that psql passes on as it is."""
    return "E'%s'" % text.replace('\\', '\\\\').replace("'", "''") \
        .replace('\n', '\\n').replace('\0', '')


def one_round(number, made, listed, lines):
    """Returns how often each answer came."""
    expressions = [generate('boolean', rng.randint(1, 5), made, listed)
                   if rng.random() < 0.7 else mutate(lines)
                   for _ in range(PER_ROUND)]
    script = "SET statement_timeout = '60s'; SET client_min_messages = error;\n"
    script += ''.join('SELECT %d, fuzz.try(%s);\n' % (i, literal(e))
                      for i, e in enumerate(expressions))
    out, errors = psql(script)
    counts = {}
    for line in out.splitlines():
        at, _, answer = line.partition('|')
        if not at.isdigit():
            continue
        counts[answer.split(' ')[0]] = counts.get(answer.split(' ')[0], 0) + 1
        if answer[:1].isupper():
            check(False, 'round %d: %s' % (number, answer[:300]),
                  expressions[int(at)])
    answered = sum(counts.values())
    if answered != len(expressions):
        check(False, 'round %d: %d of %d expressions were answered'
              % (number, answered, len(expressions)), errors[-1000:])
    out, errors = psql("SET statement_timeout = '100s'; "
                       "SET client_min_messages = error; SELECT fuzz.decide();")
    if out.strip() not in ('decided', 'none'):
        rules, _ = psql('SELECT expression FROM fuzz.accepted;')
        check(False, 'round %d: %s' % (number, out.strip()[:300] or 'no answer'),
              errors[-1000:], rules[-6000:])
        psql('TRUNCATE fuzz.accepted;')
    return counts


def main():
    with open(NAMES, encoding='utf-8') as f:
        listed = set(re.findall(r'"([^"\n]+)"', re.sub(r'#include.*', '', f.read())))
    _, errors = psql(SET_UP)
    if 'ERROR' in errors:
        raise RuntimeError(errors)
    psql('INSERT INTO fuzz.names VALUES %s;'
         % ', '.join("(%s)" % literal(n) for n in listed))
    made = catalog()
    lines = seeds_of(SEEDS)
    total, rounds = {}, 0
    try:
        while time.time() < DEADLINE or rounds == 0:
            rounds += 1
            for answer, n in one_round(rounds, made, listed, lines).items():
                total[answer] = total.get(answer, 0) + n
        check(True, 'the server stands')
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        check(False, 'round %d, seed %d: the server is gone' % (rounds, SEED),
              str(error))
    check(total.get('accepted', 0) > 0 and total.get('refused', 0) > 0,
          'some are accepted, some refused', str(total))
    print('1..%d' % tests)
    print('# seed %d, %d rounds: %s' % (SEED, rounds, total))


main()
