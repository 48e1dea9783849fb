-- explain() and preview_call(): what a person reads.
BEGIN;
SET client_min_messages = warning;
\o /dev/null
\ir views_fixture.psql
\o
CREATE FUNCTION pg_temp.line(what text, which text, id text) RETURNS text
	LANGUAGE sql AS $$
	SELECT concat_ws(' | ', value, note) FROM agentpay.explain('t_views', id)
	 WHERE section = what AND item = which $$;
CREATE FUNCTION pg_temp.agent_line(what text, which text, id text)
	RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' | ', e.value, e.note), ' // ')
	  FROM agentpay.decisions d, agentpay.explain(d.decision_id) AS e
	 WHERE d.point = 't_views' AND d.row_id = id
	   AND d.kind IN ('agent', 'fallback') AND d.repeat_no = 0
	   AND e.section = what AND e.item = which $$;
SELECT plan(42);

-- ── a rules decision ────────────────────────────────────────────────────────
SELECT is(pg_temp.line('decision', 'verdict', 'B1'),
	'approve | by the rules, version 1; it counted', 'who decided');
SELECT is(pg_temp.line('decision', 'amount', 'B1'), '600 USD', 'the amount');
SELECT is(pg_temp.line('inputs', 'amount', 'B1'), '600', 'what was read');
SELECT is(pg_temp.line('inputs', 'country', 'B1'), 'NULL', 'NULL is shown');
SELECT is(pg_temp.line('rules', 'HIGH', 'B1'),
	'MATCHED, +60 | amount > 500 - large', 'a rule that matched');
SELECT is(pg_temp.line('rules', 'ABROAD', 'B1'), 'no match | country <> ''US''',
	'one that did not');
SELECT is(pg_temp.line('rules', 'ABROAD', 'C1'),
	'error | country <> ''US'' - 22012 division by zero', 'one that failed');
SELECT is(pg_temp.line('thresholds', 'on_error', 'C1'),
	'review | errors: ABROAD', 'what an error means');
-- two ranks above the default: 100 × 1/2 and 100 × 2/2
SELECT is(pg_temp.line('thresholds', 'review', 'B1'),
	'score >= 50 | rank 1; spread evenly to 100; reached', 'a threshold');
SELECT is(pg_temp.line('thresholds', 'decline', 'B1'),
	'score >= 100 | rank 2; spread evenly to 100', 'one out of reach');
SELECT is(pg_temp.line('thresholds', 'approve', 'B1'),
	'when no threshold is reached | rank 0', 'the default');
SELECT is(pg_temp.line('decision', 'changed after scoring', 'C2'),
	'amount | these columns were not what the rules had seen',
	'a row changed after scoring');
SELECT is(pg_temp.line('agent', 'answer', 'B1'),
	'decline | shadow: recorded only', 'what an agent said about the row');
SELECT is(pg_temp.line('agent', 't_a', 'H1') ~ '^no answer yet \| task \d+ of',
	true, 'one that has not answered');
SELECT is(pg_temp.line('call', 'attempt 2', 'F1') ~ '^timeout, 0.0005 USD of 0.002 held, 100 tokens in, 20 out, 12.5 ms \|',
	true, 'a call');

-- ── an agent's decision ─────────────────────────────────────────────────────
SELECT is(pg_temp.agent_line('decision', 'verdict', 'F1'),
	'approve | the rules stand: agent t_a, version 1, failed; shadow: recorded only',
	'a fallback');
SELECT is(pg_temp.agent_line('agent', 'failure', 'F1'),
	'timeout | the agent did not answer in time', 'in plain words');
SELECT is(pg_temp.agent_line('agent', 'failure', 'E1'),
	'low_confidence | the agent was less sure than its min_confidence',
	'unsure');
SELECT is(pg_temp.agent_line('agent', 'agent', 'B1'),
	't_a | version 1, builtin, model t_views', 'which agent');
SELECT is(pg_temp.agent_line('rules', 'HIGH', 'B1'),
	'MATCHED, +60 | amount > 500 - large', 'beside the rules of the same row');
SELECT is(count(*), 13::bigint, 'every failure has words')
  FROM unnest('{timeout,http_error,rate_limited,truncated,not_json,schema,unknown_verdict,over_authority,low_confidence,over_budget,killed,uncertain,skipped}'::text[]) AS f
 WHERE agentpay._failure_meaning(f) IS NOT NULL;

-- ── as it was at that moment ────────────────────────────────────────────────
-- Charged until then in the last hour: 0.012 of all calls; 2 × 0.0005 for F1.
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES
	('t_hour', 'hour', 0.024), ('t_transaction', 'transaction', 0.01);
INSERT INTO new_decisions (decision_id, decided_at, point, row_id,
	occurred_at, kind, authority, verdict, agent, agent_version, failure,
	detail, xid)
SELECT '00000000-0000-7000-8000-0000000f1f1f', agentpay._now(), point, row_id,
	   occurred_at, kind, authority, verdict, agent, agent_version, failure,
	   detail, xid
  FROM agentpay.decisions WHERE row_id = 'F1' AND kind = 'fallback';
DO $$ BEGIN PERFORM pg_temp.append_all(); END $$;
UPDATE agentpay.budgets SET cap_cost = 99 WHERE name = 't_hour';
UPDATE agentpay.kill_switches SET engaged = true, reason = 'later'
 WHERE scope = 'agent' AND target = 't_a';
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_a';
CREATE FUNCTION pg_temp.then_line(what text, which text) RETURNS text
	LANGUAGE sql AS $$
	SELECT concat_ws(' | ', value, note)
	  FROM agentpay.explain('00000000-0000-7000-8000-0000000f1f1f'::uuid)
	 WHERE section = what AND item = which $$;
SELECT is(pg_temp.then_line('budget', 't_hour'),
	'0.0120 of 0.024 USD (50.0 %) | all agents, per hour; when exhausted: fallback',
	'the budget as it was, not as it is');
SELECT is(pg_temp.then_line('budget', 't_transaction'),
	'0.0010 of 0.01 USD (10.0 %) | all agents, per transaction; when exhausted: fallback',
	'calls for this payment alone');
SELECT is(pg_temp.then_line('control', 'kill switch agent t_a'), 'not engaged',
	'the switch as it was');
SELECT is(pg_temp.then_line('control', 'stage of t_a'),
	'shadow | at that moment', 'the stage as it was');
UPDATE agentpay.kill_switches SET engaged = false
 WHERE scope = 'agent' AND target = 't_a';
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_a';

-- ── row ids of any type, and errors ─────────────────────────────────────────
INSERT INTO new_decisions (decision_id, decided_at, point, row_id,
	occurred_at, kind, authority, verdict, xid)
SELECT gen_random_uuid(), now(), 't_views', i, now(), 'rules', 'live',
	   'approve', pg_current_xact_id()
  FROM unnest('{42,5e2b9cc1-0000-4000-8000-000000000001}'::text[]) AS i;
DO $$ BEGIN PERFORM pg_temp.append_all(); END $$;
SELECT isnt_empty('SELECT * FROM agentpay.explain(''t_views'', 42)', 'int');
SELECT isnt_empty('SELECT * FROM agentpay.explain(''t_views'', 42::bigint)',
	'bigint');
SELECT isnt_empty('SELECT * FROM agentpay.explain(''t_views'', ''42'')',
	'a literal');
SELECT isnt_empty('SELECT * FROM agentpay.explain(''t_views'', ''5e2b9cc1-0000-4000-8000-000000000001''::uuid)',
	'uuid');
SELECT throws_ok('SELECT * FROM agentpay.explain(''t_views'', ''nobody'')',
	'42704', 'point "t_views" has no decision about row ''nobody''');
SELECT throws_ok('SELECT * FROM agentpay.explain(''t_views'', NULL)',
	'42704', 'point "t_views" has no decision about row NULL');
SELECT throws_ok('SELECT * FROM agentpay.explain(''nowhere'', 1)', '23503',
	'unknown point: ''nowhere''');
SELECT throws_ok('SELECT * FROM agentpay.explain(''00000000-0000-0000-0000-000000000000''::uuid)',
	'42704', 'there is no decision 00000000-0000-0000-0000-000000000000');

-- ── preview_call ────────────────────────────────────────────────────────────
INSERT INTO agentpay.allowed_endpoints VALUES ('http://127.0.0.1:8080');
INSERT INTO agentpay.data_policies VALUES
	('t_views.payments', 'amount', 'financial', 'pass'),
	('t_views.payments', 'country', 'public', 'drop');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields,
	invoke_when, stage, price_input_per_million, price_output_per_million,
	max_output_tokens)
VALUES ('t_llm', 't_views', 'openai', 'http://127.0.0.1:8080', 'm',
	'{amount,country}', 'amount > 500 AND score >= 60 AND verdict <> ''decline''',
	'shadow', 1, 2, 100);
-- as a restore does: not scored again, their decisions are there already
SET LOCAL session_replication_role = replica;
INSERT INTO t_views.payments VALUES ('A1', now(), 600, 'USD', 'US'),
	('A2', now(), 60, 'USD', 'US'), ('D1', now(), 600, 'USD', 'US');
SET LOCAL session_replication_role = origin;
SELECT results_eq($$ SELECT v.invoked, v.withheld,
	request #>> '{messages,1,content}', request ->> 'model'
	FROM agentpay.preview_call('t_llm', 'A1') AS v $$,
	$$ VALUES (true, '{id,at,currency,country,outcome}'::text[],
	'{"amount": 600}', 'm') $$,
	'only fields with a policy that passes them are in the request');
-- jsonb is not the bytes sent, which have no blanks; so bounds from both sides
SELECT ok(upper_bound_cost > 0.0002 + 0.000001 * 200 AND upper_bound_cost
	<= 0.0002 + 0.000001 * octet_length(request::text),
	'at most a token a byte, and 100 tokens back at 2 USD a million')
  FROM agentpay.preview_call('t_llm', 'A1');
SELECT results_eq($$ SELECT invoked FROM unnest('{A1,A2,D1}'::text[])
	WITH ORDINALITY AS i (id, ord), agentpay.preview_call('t_llm', i.id)
	ORDER BY i.ord $$, $$ VALUES (true), (false), (false) $$,
	'invoke_when over the row, its score and its verdict');
SELECT results_eq($$ SELECT invoked, request, upper_bound_cost
	FROM agentpay.preview_call('t_a', 'A1') $$,
	$$ VALUES (true, NULL::jsonb, 0::numeric) $$,
	'a builtin agent sends nothing');
UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all';
SELECT results_eq($$ SELECT invoked, why
	FROM agentpay.preview_call('t_llm', 'A1') $$,
	$$ VALUES (false, 'kill switch all is engaged') $$, 'killed');
UPDATE agentpay.kill_switches SET engaged = false WHERE scope = 'all';
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_llm';
SELECT results_eq($$ SELECT invoked, why
	FROM agentpay.preview_call('t_llm', 'A1') $$,
	$$ VALUES (false, 'the agent''s stage is off') $$, 'off');
SELECT throws_ok('SELECT * FROM agentpay.preview_call(''nobody'', 1)', '42704',
	'unknown agent: ''nobody''');
SELECT throws_ok('SELECT * FROM agentpay.preview_call(''t_llm'', ''nobody'')',
	'42704', 'point "t_views" has no decision about row ''nobody''');

-- ── a vocabulary of one's own ───────────────────────────────────────────────
CREATE TABLE t_words (id bigint PRIMARY KEY, at timestamptz NOT NULL, n int,
	outcome text);
\o /dev/null
SELECT agentpay.attach('t_words', 't_words', 'fraud', 'id', 'at',
	outcome => 'outcome', verdicts => '{ok,hold,stop}');
INSERT INTO agentpay.rules (point, code, condition, score)
VALUES ('t_words', 'DIVIDES', '1 / n > 2', 10);
SELECT agentpay.activate('t_words');
\o
INSERT INTO t_words VALUES (1, now(), 0);
SELECT results_eq($$ SELECT w.outcome, e.value FROM t_words w,
	agentpay.explain('t_words', 1) e WHERE e.item = 'on_error' $$,
	$$ VALUES ('stop', 'stop') $$,
	'without a verdict review a failure gives the strictest, and explain() says so');
SELECT * FROM finish();
ROLLBACK;
