-- What is refused, and how: every configuration table says what is wrong, why,
-- and what mends it.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = error;
CREATE SCHEMA t_errors;
SET search_path = t_errors;
CREATE TABLE payments (
	payment_id bigint PRIMARY KEY,
	created_at timestamptz NOT NULL DEFAULT now(),
	card text,
	memo text,
	amount numeric,
	total numeric GENERATED ALWAYS AS (amount * 2) STORED,
	nullable_id int UNIQUE,
	currency varchar(3),
	outcome text,
	risk_score numeric,
	reasons text[],
	route text);
CREATE TABLE other (id int NOT NULL, at timestamptz NOT NULL, key text);
CREATE VIEW a_view AS SELECT * FROM payments;

-- The error of a statement as psql would show it; "accepted", and nothing
-- happened, when there is none.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	BEGIN
		EXECUTE statement;
		RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
			detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	END;
	-- those of other tests may be there too
	detail := regexp_replace(detail, '^(Points|Lists|Agents|Switches) are .*', '\1 are …');
	RETURN CASE state WHEN 'ZZZZZ' THEN 'accepted' ELSE
		format(E'ERROR:  %s: %s\nDETAIL:  %s\nHINT:  %s', state, message, detail, hint) END;
END$$;
-- Does what the hint says, each statement of it, until the statement is
-- accepted; then none of it happened.
CREATE FUNCTION pg_temp.mend(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
	hints text[] := '{}';
	accepted boolean := false;
BEGIN
	BEGIN
		WHILE NOT accepted AND cardinality(hints) < 8 LOOP
			BEGIN
				EXECUTE statement;
				accepted := true;
			EXCEPTION WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
				hints := hints || (SQLSTATE || ': ' || SQLERRM || E'\n    ' || hint);
			END;
			IF NOT accepted THEN
				BEGIN
					EXECUTE hint;
				EXCEPTION WHEN OTHERS THEN
					RETURN array_to_string(hints, E'\n') || E'\nthe hint fails: ' || SQLERRM;
				END;
			END IF;
		END LOOP;
		RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
	EXCEPTION WHEN sqlstate 'ZZZZZ' THEN
		NULL;
	END;
	RETURN array_to_string(hints, E'\n') || CASE WHEN accepted THEN E'\naccepted' ELSE E'\nNOT accepted' END;
END$$;
\pset format unaligned
\pset tuples_only on

SELECT agentpay.attach('payments', point => 't_errors', role => 'fraud', id => 'payment_id', occurred_at => 'created_at',
	amount => 'amount', currency => 'currency', outcome => 'outcome', score => 'risk_score', reasons => 'reasons');
SELECT agentpay.attach('payments', point => 't_errors_route', role => 'routing', id => 'payment_id', occurred_at => 'created_at',
	outcome => 'route', verdicts => '{acquirer_a,acquirer_b}');

-- ── attach() and decision_points ────────────────────────────────────────────
SELECT pg_temp.try($$SELECT agentpay.attach('a_view', 'p', 'fraud', 'payment_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('pg_class', 'p', 'fraud', 'oid', 'relname')$$);
SELECT pg_temp.try($$SELECT agentpay.attach(NULL, 'p', 'fraud', 'payment_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'A Point', 'fraud', 'payment_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'frauds', 'payment_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', NULL)$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'nullable_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('other', 'p', 'fraud', 'id', 'at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'card')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', amount => 'total', currency => 'USD')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', amount => 'card', currency => 'USD')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', amount => 'amount')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', amount => 'amount', currency => 'usd')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', outcome => 'reasons')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', outcome => 'outcome')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', outcome => 'card', subject => 'card')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', idempotency => 'memo')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'routing', 'payment_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', verdicts => '{approve,Decline}')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 't_errors', 'dispute', 'payment_id', 'created_at')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('payments', 't_errors', 'fraud', 'payment_id', 'created_at', verdicts => '{yes,no}')$$);
CREATE TYPE two_verdicts AS ENUM ('approve', 'decline');
CREATE TABLE narrow (id text PRIMARY KEY, at timestamptz NOT NULL, short varchar(6), two two_verdicts, region text) ;
SELECT pg_temp.try($$SELECT agentpay.attach('narrow', 'p', 'fraud', 'id', 'at', outcome => 'short')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('narrow', 'p', 'fraud', 'id', 'at', outcome => 'two')$$);
CREATE TABLE by_outcome (id text NOT NULL, at timestamptz NOT NULL, outcome text NOT NULL, PRIMARY KEY (id, outcome)) PARTITION BY LIST (outcome);
CREATE TABLE by_outcome_1 PARTITION OF by_outcome DEFAULT;
SELECT pg_temp.try($$SELECT agentpay.attach('by_outcome', 'p', 'fraud', 'id', 'at', outcome => 'outcome')$$);
SELECT pg_temp.try($$SELECT agentpay.attach('by_outcome_1', 'p', 'fraud', 'id', 'at')$$);
CREATE TABLE child () INHERITS (other);
SELECT pg_temp.try($$SELECT agentpay.attach('child', 'p', 'fraud', 'id', 'at')$$);
CREATE TEMP TABLE temporary (id int PRIMARY KEY, at timestamptz NOT NULL);
SELECT pg_temp.try($$SELECT agentpay.attach('temporary', 'p', 'fraud', 'id', 'at')$$);
SELECT pg_temp.try($$SELECT agentpay.detach('nobody')$$);
SELECT pg_temp.try($$DELETE FROM agentpay.decision_points WHERE point = 't_errors'$$);
SELECT pg_temp.try($$TRUNCATE agentpay.decision_points CASCADE$$);
SELECT pg_temp.try(format('UPDATE agentpay.decision_points SET %s WHERE point = ''t_errors''', change))
  FROM unnest(ARRAY['point = ''other''', 'id_column = ''card''', 'time_zone = ''Mars/Olympus''', 'currency = ''euro'', currency_column = NULL',
	'base_currency = ''$''', 'environment = ''test''', 'explore_percent = 50', 'explore_max_amount = -1', 'audit_sample_percent = -1',
	'audit_sample_percent = ''NaN''', 'decide_within_ms = 0', 'label_maturity = ''-1 day''',
	'case_due = ''400 years''', 'labels_complete = NULL', 'time_zone = NULL']) AS change;

-- ── verdicts ────────────────────────────────────────────────────────────────
SELECT pg_temp.try($$INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES ('nobody', 'block', 3, true)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES ('t_errors', 'Block it', 3, true)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES ('t_errors', 'block', NULL, true)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES ('t_errors', 'block', 1000000, true)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES ('t_errors_route', 'acquirer_c', 1, false)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES ('t_errors', 'block', 3, NULL)$$);
SELECT pg_temp.try($$UPDATE agentpay.verdicts SET verdict = 'refuse' WHERE point = 't_errors' AND verdict = 'decline'$$);
SELECT pg_temp.try($$UPDATE agentpay.verdicts SET is_default = false WHERE point = 't_errors' AND verdict = 'approve'$$);
SELECT pg_temp.try($$DELETE FROM agentpay.verdicts WHERE point = 't_errors' AND verdict = 'approve'$$);

-- ── features ────────────────────────────────────────────────────────────────
CREATE INDEX ON payments (card, created_at);
SELECT pg_temp.try(format('INSERT INTO agentpay.features (point, name, key, aggregate, over, %s', rest))
  FROM unnest(ARRAY[
	'filter) VALUES (''nobody'', ''f'', ''{card}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''amount'', ''{card}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''score'', ''{card}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{cards}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{total}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{{card,memo}}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{memo}'', ''count'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{card}'', ''mode'', ''1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{card}'', ''sum'', ''1 hour'', NULL)',
	'value) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''amount'')',
	'filter) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', NULL, NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 month'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''-1 hour'', NULL)',
	'filter) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1000000 days'', NULL)',
	'delay) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''-1 hour'')',
	'delay) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', NULL)',
	'kind) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''sketch'')',
	'kind) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''since_last'')',
	'kind) VALUES (''t_errors'', ''f'', ''{card}'', NULL, NULL, ''lookup'')',
	'kind, value) VALUES (''t_errors'', ''f'', ''{card}'', NULL, NULL, ''since_last'', ''amount'')',
	'from_table) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''other'')',
	'from_key) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''{memo}'')',
	'from_time) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''memo'')',
	'default_value) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''none'')',
	'default_value) VALUES (''t_errors'', ''f'', ''{card}'', ''count'', ''1 hour'', ''NaN'')']) AS rest;

-- ── rulesets and rules ──────────────────────────────────────────────────────
INSERT INTO agentpay.rules (point, code, condition, score, verdict) VALUES
	('t_errors', 'LARGE', 'amount > 1000', 60, NULL), ('t_errors', 'HUGE', 'amount > 100000', 0, 'decline');
SELECT agentpay.activate('t_errors');
SELECT agentpay.draft('t_errors');
SELECT pg_temp.try($$SELECT agentpay.draft('nobody')$$);
SELECT pg_temp.try($$SELECT agentpay.draft('t_errors', 7)$$);
SELECT pg_temp.try($$SELECT agentpay.activate('nobody')$$);
SELECT pg_temp.try($$SELECT agentpay.activate('t_errors', 7)$$);
SELECT pg_temp.try($$SELECT agentpay.activate('t_errors_route')$$);
SELECT pg_temp.try($$SELECT agentpay.activate('t_errors', 1, as_shadow => true)$$);
SELECT pg_temp.try($$SELECT agentpay.revert('t_errors', 'too many declines')$$);
SELECT pg_temp.try($$SELECT agentpay.revert('t_errors', ' ')$$);
SELECT pg_temp.try($$SELECT agentpay.revert('t_errors_route', 'it has none')$$);
-- thresholds
SELECT pg_temp.try(format('UPDATE agentpay.rulesets SET thresholds = %L WHERE point = ''t_errors'' AND version = 2', t))
  FROM unnest(ARRAY['[50, 100]', '{"refuse": 50}', '{"approve": 0}', '{"review": "high"}', '{"review": 80, "decline": 50}',
	'{"review": 1e30}']) AS t;
SELECT pg_temp.try($$INSERT INTO agentpay.rulesets (point, version, mode, thresholds) VALUES ('t_errors_route', 1, 'first_match', '{"acquirer_b": 50}')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rulesets (point, version) VALUES ('t_errors_route', 1)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rulesets (point, version) VALUES ('t_errors', 0)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rulesets (point, version, state) VALUES ('t_errors', 3, 'active')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rulesets (point, version, activated_at) VALUES ('t_errors', 3, now())$$);
SELECT pg_temp.try(format('UPDATE agentpay.rulesets SET %s WHERE point = ''t_errors'' AND version = 2', change))
  FROM unnest(ARRAY['mode = ''vote''', 'on_error = ''panic''', 'state = ''retired''', 'version = 9',
	'created_by = ''somebody''', 'activated_at = now()', 'thresholds = NULL']) AS change;
-- an active version is frozen
SELECT pg_temp.try(format('UPDATE agentpay.rulesets SET %s WHERE point = ''t_errors'' AND version = 1', change))
  FROM unnest(ARRAY['thresholds = ''{"review": 1}''', 'on_error = ''approve''', 'state = ''draft''', 'activated_at = ''2001-01-01''']) AS change;
SELECT pg_temp.try($$DELETE FROM agentpay.rulesets WHERE point = 't_errors' AND version = 1$$);
SELECT pg_temp.try($$UPDATE agentpay.rules SET score = 10 WHERE point = 't_errors' AND version = 1 AND code = 'LARGE'$$);
SELECT pg_temp.try($$DELETE FROM agentpay.rules WHERE point = 't_errors' AND version = 1 AND code = 'LARGE'$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, version, code, condition) VALUES ('t_errors', 1, 'MORE', 'true')$$);
SELECT pg_temp.try($$UPDATE agentpay.rules SET snoozed_until = 'infinity' WHERE point = 't_errors' AND version = 1 AND code = 'LARGE'$$);
-- rules
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, code, condition) VALUES ('nobody', 'R', 'true')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, version, code, condition) VALUES ('t_errors', 9, 'R', 'true')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'large amount', 'true')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', NULL)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_errors', 'R', 'true', 'NaN')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('t_errors', 'R', 'true', 'refuse')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors_route', 'R', 'true')$$);
SELECT pg_temp.try($$UPDATE agentpay.rules SET version = 1 WHERE point = 't_errors' AND version = 2 AND code = 'LARGE'$$);
SELECT pg_temp.try($$SELECT agentpay.draft('t_errors'); UPDATE agentpay.rules SET version = 3, code = 'MOVED' WHERE point = 't_errors' AND version = 2 AND code = 'LARGE'$$);
-- verdicts that are in use
SELECT pg_temp.try($$DELETE FROM agentpay.verdicts WHERE point = 't_errors' AND verdict = 'decline'$$);
SELECT pg_temp.try($$UPDATE agentpay.verdicts SET rank = 5 WHERE point = 't_errors' AND verdict = 'decline'$$);

-- ── lists and models ────────────────────────────────────────────────────────
SELECT pg_temp.try($$INSERT INTO agentpay.lists VALUES ('Bad Cards')$$);
INSERT INTO agentpay.lists VALUES ('t_errors');
SELECT pg_temp.try($$UPDATE agentpay.lists SET name = 'renamed' WHERE name = 't_errors'$$);
SELECT pg_temp.try($$INSERT INTO agentpay.list_entries (list, value) VALUES ('nobody', 'x')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.list_entries (list, value) VALUES (NULL, 'x')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.list_entries (list, value) VALUES ('t_errors', NULL)$$);
SELECT pg_temp.try($$INSERT INTO agentpay.list_entries (list, value, expires_at) VALUES ('t_errors', 'x', 'infinity')$$);
SELECT pg_temp.try(format('INSERT INTO agentpay.models (name, kind, features, definition) VALUES (%s)', v))
  FROM unnest(ARRAY[$$'T', 'logistic', '{amount}', '{}'$$, $$'m', 'forest', '{amount}', '{}'$$, $$'m', 'xgboost', '{amount}', '{}'$$,
	$$'m', 'logistic', '{}', '{}'$$, $$'m', 'logistic', '{amount}', '[]'$$,
	$$'m', 'logistic', '{amount}', '{"intercept": "NaN", "coefficients": [1], "mean": [0], "scale": [1]}'$$,
	$$'m', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1, 2], "mean": [0], "scale": [1]}'$$,
	$$'m', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1e999], "mean": [0], "scale": [1]}'$$,
	$$'m', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [0]}'$$]) AS v;
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_errors', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}'),
	('t_errors_far', 'logistic', '{distance}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
SELECT pg_temp.try($$UPDATE agentpay.models SET features = '{card}' WHERE name = 't_errors'$$);
SELECT pg_temp.try($$INSERT INTO agentpay.models (name, kind, features, definition, active)
	SELECT name, kind, features, definition, NULL FROM agentpay.models WHERE name = 't_errors'$$);

-- ── allowed_endpoints ───────────────────────────────────────────────────────
SELECT pg_temp.try(format('INSERT INTO agentpay.allowed_endpoints (origin) VALUES (%L)', origin))
  FROM unnest(ARRAY['api.openai.com', 'https://api.openai.com/', 'https://api.openai.com/v1', 'HTTPS://API.openai.com', 'ftp://api.openai.com',
	'http://api.openai.com', 'https://user:pass@api.openai.com', 'https://api.openai.com:99999', 'https://a.example' || chr(10) || 'b', 'https://a_b..', 'file:///etc/passwd', NULL]) AS origin;

-- ── data_policies ───────────────────────────────────────────────────────────
SELECT pg_temp.try(format('INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment, options) VALUES (%s)', v))
  FROM unnest(ARRAY[$$'a_view', 'card', 'pii', 'mask', '{}'$$, $$'payments', 'cards', 'pii', 'mask', '{}'$$, $$'payments', 'total', 'pii', 'mask', '{}'$$,
	$$'payments', 'card', 'secret', 'mask', '{}'$$, $$'payments', 'card', 'pii', 'show', '{}'$$, $$'payments', 'card', 'pii', 'tokenise', '{"format": "ff2"}'$$,
	$$'payments', 'card', 'pci', 'pass', '{}'$$, $$'payments', 'card', 'pci', 'mask', '{"keep_last": 8}'$$,
	$$'payments', 'card', 'pii', 'mask', '{"keep": 4}'$$, $$'payments', 'card', 'pii', 'pass', '{"keep_last": 4}'$$,
	$$'payments', 'card', 'pii', 'mask', '[]'$$, $$99999999, 'card', 'pii', 'mask', '{}'$$,
	$$'payments', 'card', 'pii', 'hash', '{}'$$, $$'payments', 'card', 'pii', 'hash', '{"keep_last": 4}'$$,
	$$'payments', 'card', 'pci', 'bucket', '{}'$$, $$'payments', 'card', 'pii', 'bucket', '{"bounds": [10]}'$$,
	$$'payments', 'amount', 'financial', 'bucket', '{}'$$, $$'payments', 'amount', 'financial', 'bucket', '{"bounds": []}'$$,
	$$'payments', 'amount', 'financial', 'bucket', '{"bounds": [10, 10]}'$$, $$'payments', 'amount', 'financial', 'bucket', '{"bounds": [10, "100"]}'$$,
	$$'payments', 'amount', 'financial', 'bucket', '{"bounds": [1], "width": "day"}'$$,
	$$'payments', 'created_at', 'public', 'bucket', '{"width": "week"}'$$, $$'payments', 'created_at', 'public', 'bucket', '{"bounds": [10]}'$$]) AS v;

-- ── budgets ─────────────────────────────────────────────────────────────────
SELECT pg_temp.try(format('INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost, cap_calls, alert_percent, on_exhausted) VALUES (%s)', v))
  FROM unnest(ARRAY[$$'Per Hour', 'all', '*', 'hour', 5, NULL, 80, 'fallback'$$, $$'b', 'team', '*', 'hour', 5, NULL, 80, 'fallback'$$,
	$$'b', 'agent', '*', 'hour', 5, NULL, 80, 'fallback'$$, $$'b', 'all', 'fraud', 'hour', 5, NULL, 80, 'fallback'$$,
	$$'b', 'agent', 'nobody', 'hour', 5, NULL, 80, 'fallback'$$, $$'b', 'role', 'frauds', 'hour', 5, NULL, 80, 'fallback'$$,
	$$'b', 'all', '*', 'week', 5, NULL, 80, 'fallback'$$, $$'b', 'all', '*', 'hour', -1, NULL, 80, 'fallback'$$,
	$$'b', 'all', '*', 'hour', 'NaN', NULL, 80, 'fallback'$$, $$'b', 'all', '*', 'hour', 'Infinity', NULL, 80, 'fallback'$$,
	$$'b', 'all', '*', 'hour', NULL, NULL, 80, 'fallback'$$, $$'b', 'all', '*', 'hour', NULL, -1, 80, 'fallback'$$,
	$$'b', 'all', '*', 'hour', 5, NULL, 120, 'fallback'$$, $$'b', 'all', '*', 'hour', 5, NULL, 80, 'explode'$$]) AS v;

-- ── agents ──────────────────────────────────────────────────────────────────
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://api.t-errors.example');
INSERT INTO agentpay.data_policies VALUES ('payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million, price_output_per_million)
VALUES ('t_errors_llm', 't_errors', 'openai', 'https://api.t-errors.example/v1', 'x', '{amount}', 'true', 1, 2),
	('t_errors_big', 't_errors', 'openai', 'https://api.t-errors.example/v1', 'y', '{}', 'true', 1, 2);
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when) VALUES ('t_errors_tree', 't_errors', 'builtin', 't_errors', 'true');
SELECT pg_temp.try($$INSERT INTO agentpay.agents (name, point, protocol, invoke_when) VALUES ('An Agent', 't_errors', 'builtin', 'true')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.agents (name, point, protocol, invoke_when) VALUES ('a', 'nobody', 'builtin', 'true')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.agents (name, point, protocol, invoke_when) VALUES ('a', 't_errors', 'builtin', 'true')$$);
SELECT pg_temp.try($$INSERT INTO agentpay.agents (name, point, protocol, invoke_when) VALUES ('a', 't_errors', 'openai', 'true')$$);
SELECT pg_temp.try(format('UPDATE agentpay.agents SET %s WHERE name = ''t_errors_llm''', change))
  FROM unnest(ARRAY['name = ''other''', 'point = ''t_errors_route''', 'protocol = ''telnet''', 'protocol = ''anthropic''',
	'endpoint = NULL', 'endpoint = ''https://elsewhere.example/v1''', 'endpoint = ''https://api.t-errors.example.evil.example/v1''',
	'endpoint = ''https://api.t-errors.example/v1?key=1''', 'endpoint = ''https://me:x@api.t-errors.example/v1''', 'endpoint = ''http://api.t-errors.example/v1''',
	'endpoint = E''https://api.t-errors.example/v1\r\nX-Evil: 1''', 'model = NULL', 'model = E''x\ny''',
	'secret = ''sk-live-1234567890''', 'secret = ''file:key''', 'secret = E''env:KEY\nX''',
	'prompt = '' ''', 'fields = ''{nothing}''', 'fields = ''{total}''', 'fields = ''{amount,NULL}''', 'fields = NULL',
	'sample_percent = 101', 'sample_percent = -1', 'sample_percent = ''NaN''', 'position = ''middle''',
	'stage = ''live''', 'stage = ''5''', 'rollout_steps = ''{}''', 'rollout_steps = ''{50,5}''', 'rollout_steps = ''{0,101}''',
	'timeout_ms = 0', 'max_attempts = 11', 'max_in_flight = 0', 'max_output_tokens = 1000000', 'min_confidence = 1.5',
	'price_input_per_million = NULL', 'price_input_per_million = -1', 'price_output_per_million = ''Infinity''', 'price_per_call = 1e9',
	'cost_center = ''''', 'cost_center = ''fraud team''', 'cost_center = NULL', 'holdout_percent = 60', 'holdout_percent = 5.005',
	'repeat_percent = 100.5', 'repeats = 1', 'processor = ''[]''', 'options = ''"hot"''', 'options = ''{"temprature": 0}''',
	'options = ''{"actions": []}''', 'options = ''{"actions": {"maybe": "void"}}''', 'options = ''{"actions": {"decline": "shout"}}''',
	'options = ''{"actions": {"decline": null}}''', 'options = ''{"capture_within": "soon"}''', 'options = ''{"capture_within": "-1 day"}''',
	'options = ''{"capture_within": 7}''', 'options = ''{"temperature": 3}''', 'options = ''{"temperature": "hot"}''', 'options = ''{"reasoning_effort": "lo\nw"}''',
	'escalate_to = ''nobody''', 'escalate_to = ''t_errors_llm''', 'enabled = NULL']) AS change;
SELECT pg_temp.try($$UPDATE agentpay.agents SET escalate_to = 't_errors_llm' WHERE name = 't_errors_big';
	UPDATE agentpay.agents SET escalate_to = 't_errors_big' WHERE name = 't_errors_llm'$$);
-- built in
SELECT pg_temp.try(format('UPDATE agentpay.agents SET %s WHERE name = ''t_errors_tree''', change))
  FROM unnest(ARRAY['endpoint = ''https://api.t-errors.example/v1''', 'secret = ''env:KEY''', 'model = ''nobody''', 'model = ''t_errors_far''',
	'options = ''{"temperature": 0}''', 'options = ''{"thresholds": {"review": 0.8, "decline": 0.4}}''', 'options = ''{"thresholds": {"review": 50}}''',
	'options = ''{"thresholds": {"refuse": 0.5}}''']) AS change;
-- no cap in scope; a stage; what is used stays
SELECT pg_temp.try($$UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_errors_llm'$$);
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_errors_tree';
SELECT pg_temp.try($$DELETE FROM agentpay.agents WHERE name = 't_errors_tree'$$);
SELECT pg_temp.try($$DELETE FROM agentpay.models WHERE name = 't_errors'$$);
SELECT pg_temp.try($$INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when, price_input_per_million, price_output_per_million, stage)
	VALUES ('a', 't_errors', 'openai', 'https://api.t-errors.example/v1', 'y', 'true', 1, 2, '25')$$);

-- ── kill_switches ───────────────────────────────────────────────────────────
SELECT pg_temp.try(statement) FROM unnest(ARRAY[
	$$INSERT INTO agentpay.kill_switches (scope, target, engaged) VALUES ('agent', 't_errors_lm', true)$$,
	$$UPDATE agentpay.kill_switches SET target = 't_errors_lm' WHERE target = 't_errors_llm'$$,
	$$DELETE FROM agentpay.kill_switches WHERE target = 't_errors_llm'$$,
	$$UPDATE agentpay.kill_switches SET engaged = NULL WHERE target = 't_errors_llm'$$,
	$$TRUNCATE agentpay.kill_switches$$]) AS statement;

-- ── expressions: where ──────────────────────────────────────────────────────
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('t_errors', 'card_hour', '{card}', 'count', '1 hour');
\set VERBOSITY default
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'card_hour > 3 AND amont > 1000');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'country = ''DE''');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'amount > > 1000');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'amount + 1');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'total > 1000');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'amount > (SELECT max(amount) FROM payments)');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'pg_sleep(10) IS NULL');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'in_list(''nobody'', card)');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'amount > 10 AND model(''nobody'') > 0.5');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_errors', 'R', 'score > 50');
UPDATE agentpay.agents SET invoke_when = 'scores > 50' WHERE name = 't_errors_llm';
UPDATE agentpay.agents SET invoke_when = 'verdict' WHERE name = 't_errors_llm';
INSERT INTO agentpay.features (point, name, key, aggregate, over, value) VALUES ('t_errors', 'f', '{card}', 'sum', '1 hour', 'card');
INSERT INTO agentpay.features (point, name, key, aggregate, over, filter) VALUES ('t_errors', 'f', '{card}', 'count', '1 hour', 'card_hour > 1');
\set VERBOSITY terse
-- what an expression names stays
INSERT INTO agentpay.rules (point, code, condition) VALUES
	('t_errors', 'BUSY', 'card_hour > 5 AND in_list(value => lower(card), list => $q$t_errors$q$) AND model(name => ''t_errors'') > 0.5');
SELECT pg_temp.try($$DELETE FROM agentpay.features WHERE point = 't_errors' AND name = 'card_hour'$$);
SELECT pg_temp.try($$DELETE FROM agentpay.lists WHERE name = 't_errors'$$);
SELECT pg_temp.try($$DELETE FROM agentpay.models WHERE name = 't_errors'$$);
DELETE FROM agentpay.rules WHERE point = 't_errors' AND code = 'BUSY';
DELETE FROM agentpay.features WHERE point = 't_errors' AND name = 'card_hour';

-- ── the hint is the mend ────────────────────────────────────────────────────
SELECT pg_temp.mend($$SELECT agentpay.attach('payments', 'p', 'fraud', 'nullable_id', 'created_at')$$);
SELECT pg_temp.mend($$SELECT agentpay.attach('other', 'p', 'fraud', 'id', 'at')$$);
SELECT pg_temp.mend($$SELECT agentpay.attach('payments', 'p', 'fraud', 'payment_id', 'created_at', idempotency => 'memo')$$);
SELECT pg_temp.mend($$SELECT agentpay.attach('narrow', 'p', 'fraud', 'id', 'at', outcome => 'short')$$);
SELECT pg_temp.mend($$INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('t_errors', 'f', '{memo}', 'count', '1 hour')$$);
SELECT pg_temp.mend($$INSERT INTO agentpay.list_entries (list, value) VALUES ('t_errors_new', 'x')$$);
SELECT pg_temp.mend($$INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million, price_output_per_million, stage)
	VALUES ('a', 't_errors', 'openai', 'https://new.example/v1', 'y', '{memo,amount,created_at}', 'true', 1, 2, 'shadow')$$);
SELECT pg_temp.mend($$SELECT agentpay.activate('t_errors_route')$$);
SELECT pg_temp.mend($$UPDATE agentpay.rulesets SET thresholds = '{}' WHERE point = 't_errors' AND version = 2 AND NOT EXISTS (
	SELECT FROM agentpay.rulesets WHERE thresholds = '{"review": 50, "decline": 100}');
	UPDATE agentpay.rulesets SET thresholds = '{"decline": 50, "review": 100}' WHERE point = 't_errors' AND version = 2 AND thresholds = '{}'$$);
SELECT pg_temp.mend($$INSERT INTO agentpay.allowed_endpoints (origin) SELECT 'API.new.example/v1' WHERE NOT EXISTS (
	SELECT FROM agentpay.allowed_endpoints WHERE origin LIKE '%new.example')$$);
SELECT pg_temp.mend($$DELETE FROM agentpay.verdicts WHERE point = 't_errors_route' AND verdict = 'acquirer_a'$$);
SELECT pg_temp.mend($$DELETE FROM agentpay.agents WHERE name = 't_errors_tree'$$);

-- clean up
DELETE FROM agentpay.agents WHERE name IN ('t_errors_llm', 't_errors_big');
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_errors_tree';
DELETE FROM agentpay.agents WHERE name = 't_errors_tree';
DELETE FROM agentpay.models WHERE name LIKE 't\_errors%';
DELETE FROM agentpay.lists WHERE name = 't_errors';
DELETE FROM agentpay.data_policies WHERE table_name = 'payments'::regclass;
DELETE FROM agentpay.allowed_endpoints WHERE origin = 'https://api.t-errors.example';
SELECT agentpay.detach('t_errors'), agentpay.detach('t_errors_route');
DROP SCHEMA t_errors CASCADE;
