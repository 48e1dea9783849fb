-- What a dispatcher asks of the database for a call: claimed, prepared and
-- recorded by the functions that it calls, with answers given by hand.  Costs
-- are worked out beside them: 3, 1 and 10 USD per million tokens of input,
-- cached input and output, and 0.0002 a call.
BEGIN;
SET client_min_messages = warning;
\o /dev/null
CREATE SCHEMA t_disp;
CREATE TABLE t_disp.payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), amount numeric, note text);
SELECT agentpay.attach('t_disp.payments', point => 't_disp', role => 'fraud', id => 'id', occurred_at => 'at');
INSERT INTO agentpay.data_policies VALUES ('t_disp.payments', 'amount', 'financial', 'pass'), ('t_disp.payments', 'note', 'free_text', 'drop');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://t-disp.example');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million,
	price_cached_input_per_million, price_output_per_million, price_per_call, max_output_tokens)
VALUES ('t_disp', 't_disp', 'openai', 'https://t-disp.example/v1', 'm', '{amount}', 'true', 3, 1, 10, 0.0002, 100);
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES
	('t_disp_hour', 'agent', 't_disp', 'hour', 10), ('t_disp_each', 'agent', 't_disp', 'transaction', 0.02);
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_disp';
INSERT INTO t_disp.payments (id, amount, note) SELECT 'p' || g, g, 'for nobody' FROM generate_series(1, 9) AS g;
CREATE TEMP TABLE asked AS SELECT t.row_id, t.task_id FROM agentpay._tasks t WHERE t.point = 't_disp';
CREATE FUNCTION pg_temp.task(row_id text) RETURNS bigint LANGUAGE sql AS $$ SELECT a.task_id FROM asked a WHERE a.row_id = $1 $$;
\o
SELECT plan(31);

-- ── claimed ─────────────────────────────────────────────────────────────────
SELECT is((x.agents, x.skipped IS NULL, x.builtin IS NULL)::text, '({t_disp},t,t)', 'all tasks are of one agent that is called')
  FROM agentpay._take_tasks(ARRAY(SELECT t FROM agentpay._tasks t WHERE t.point = 't_disp' ORDER BY t.task_id)) AS x;
SELECT is((SELECT string_agg(DISTINCT w.state || w.attempt || w.spent, ' ') FROM agentpay._task_work w JOIN asked USING (task_id)), 'leased00', 'they wait');
SELECT is((SELECT array_agg(w.task_id ORDER BY w.place) FROM agentpay._task_work w JOIN asked USING (task_id)),
	(SELECT array_agg(a.task_id ORDER BY a.task_id) FROM asked a), 'in their order');
SELECT is((SELECT (x.skipped)[1].failure || ': ' || ((x.skipped)[1].detail ->> 'error') || coalesce(x.agents[1], '')
  FROM (SELECT t FROM agentpay._tasks t WHERE t.point = 't_disp' LIMIT 1) AS y, agentpay._take_tasks(ARRAY[
		jsonb_populate_record(y.t, jsonb_build_object('task_id', -1, 'decide_by', now() - interval '1 day'))]) AS x), 'skipped: decide_by passed',
	'one whose time has passed is not asked');
SELECT is((SELECT (x.skipped)[1].detail ->> 'error' FROM (SELECT t FROM agentpay._tasks t WHERE t.point = 't_disp' LIMIT 1) AS y,
	agentpay._take_tasks(ARRAY[jsonb_populate_record(y.t, '{"task_id": -1, "agent": "t_gone"}')]) AS x), 'the agent was removed', 'nor one whose agent is gone');

-- ── prepared ────────────────────────────────────────────────────────────────
CREATE TEMP TABLE prepared AS SELECT a.row_id, p.* FROM agentpay._prepare(77, ARRAY(SELECT a.task_id FROM asked a WHERE a.row_id <> 'p9') || pg_temp.task('p1')) AS p JOIN asked a USING (task_id);
SELECT is((SELECT string_agg(DISTINCT action || attempt, ' ') || ' ' || count(*) FROM prepared), 'send1 8', 'each is sent once, though one was named twice');
SELECT is((SELECT string_agg(row_id, ' ' ORDER BY row_id) FROM prepared WHERE body::jsonb -> 'messages' -> 1 ->> 'content' = '{"amount": ' || substr(row_id, 2) || '}'),
	'p1 p2 p3 p4 p5 p6 p7 p8', 'with its field, and with nothing of what is dropped');
-- each byte of the body a token of input, and 100 of output
CREATE TEMP TABLE bound AS SELECT row_id, (octet_length(body) * 3 + 100 * 10) / 1000000.0 + 0.0002 AS usd FROM prepared;
SELECT is((SELECT count(*) FROM agentpay._holds h JOIN asked a USING (task_id) JOIN bound b USING (row_id)
	WHERE h.state = 'held' AND h.bound_cost = b.usd AND h.attempt = 1), 16::bigint, 'its bound is held in both budgets');
SELECT is((SELECT count(*) FROM agentpay._task_work w JOIN asked a USING (task_id) JOIN bound b USING (row_id)
	WHERE w.state = 'sent' AND w.lease = 77 AND w.attempt = 1 AND w.bound_cost = b.usd AND w.lease_until > w.sent_at), 8::bigint, 'and it is marked as sent');
SELECT is_empty($$SELECT * FROM agentpay._prepare(78, ARRAY(SELECT a.task_id FROM asked a WHERE a.row_id <> 'p9'))$$, 'what is sent is not sent again');
-- a body of more than 6600 bytes would cost 0.02
UPDATE agentpay.budgets SET cap_cost = 0.001, on_exhausted = 'wait' WHERE name = 't_disp_hour';
SELECT is((SELECT action FROM agentpay._prepare(77, ARRAY[pg_temp.task('p9')])), 'ended', 'what can never fit ends');
SELECT is((SELECT d.kind || ' ' || d.failure || ' ' || (d.detail ->> 'budget') || ' ' || d.verdict FROM agentpay.decisions d WHERE d.point = 't_disp' AND d.row_id = 'p9' AND d.agent = 't_disp'),
	'fallback over_budget t_disp_hour approve', 'over budget, and the rules stand');
SELECT is_empty($$SELECT FROM agentpay._task_work w WHERE w.task_id = pg_temp.task('p9')$$, 'and its work is done');
UPDATE agentpay.budgets SET cap_cost = 10 WHERE name = 't_disp_hour';

-- ── recorded ────────────────────────────────────────────────────────────────
CREATE FUNCTION pg_temp.ended(row_id text, result jsonb) RETURNS agentpay._attempt_end LANGUAGE sql AS $$
	SELECT jsonb_populate_record(NULL::agentpay._attempt_end, jsonb_build_object('task_id', pg_temp.task(row_id), 'attempt', 1, 'final', true,
		'charge', 'usage', 'status', 'ok', 'error', '', 'verdict', 'approve', 'confidence', 0.9, 'reasons', '["SMALL"]'::jsonb, 'called_at', now(), 'latency_ms', 12,
		'request_sha256', repeat('ab', 32)) || result) $$;
SELECT is_empty($$SELECT * FROM agentpay._record(78, ARRAY[pg_temp.ended('p1', '{}')])$$, 'nobody records what another has sent');
SELECT is((SELECT count(*) FROM agentpay._task_work w JOIN asked USING (task_id) WHERE w.state = 'sent'), 8::bigint, 'and nothing has changed');
CREATE TEMP TABLE again AS SELECT a.row_id FROM agentpay._record(77, ARRAY[
	pg_temp.ended('p1', '{"input_tokens": 300, "cached_tokens": 100, "output_tokens": 20, "explanation": "a \"small\" one"}'),
	pg_temp.ended('p2', '{"input_tokens": 300, "cached_tokens": 100}'),
	pg_temp.ended('p3', '{"input_tokens": 300000000, "cached_tokens": 0, "output_tokens": 20}'),
	pg_temp.ended('p4', '{"charge": "uncertain", "status": "uncertain", "failure": "uncertain", "verdict": null, "error": "cut off"}'),
	pg_temp.ended('p5', '{"charge": "none", "status": "rate_limited", "failure": "rate_limited", "verdict": null, "final": false, "delay_ms": 1500}'),
	pg_temp.ended('p6', '{"charge": "bound", "status": "not_json", "failure": "not_json", "verdict": null, "error": "a \\ and a \""}'),
	pg_temp.ended('p7', '{"attempt": 2}'),
	pg_temp.ended('p8', '{"charge": "released", "status": null, "failure": "skipped", "verdict": null, "error": "the agent was removed"}')]) AS r
  JOIN asked a USING (task_id);
SELECT is((SELECT string_agg(row_id, ' ') FROM again), 'p5', 'one is to be tried again');
CREATE TEMP TABLE calls AS SELECT c.*, b.usd FROM agentpay.agent_calls c JOIN bound b USING (row_id) WHERE c.point = 't_disp';
SELECT is((SELECT string_agg(row_id || ' ' || status, ', ' ORDER BY row_id) FROM calls),
	'p1 ok, p2 ok, p3 ok, p4 uncertain, p5 rate_limited, p6 not_json', 'what was called is on record, and nothing else');
-- 200 * 3 + 100 * 1 + 20 * 10 = 900 per million, and 0.0002
SELECT is((SELECT cost FROM calls WHERE row_id = 'p1'), 0.0011, 'p1 costs what its tokens cost');
SELECT is((SELECT string_agg(row_id, ' ' ORDER BY row_id) FROM calls WHERE cost = usd), 'p2 p3 p4 p6', 'half a usage, too much of it, and what is not known are charged at the bound');
SELECT is((SELECT cost FROM calls WHERE row_id = 'p5'), 0::numeric, 'what was refused costs nothing');
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', agent_version, provider, request_model, cost_center, reserved_cost = usd, encode(request_sha256, 'hex') = repeat('ab', 32)), ',') FROM calls),
	'1 openai m unattributed t t', 'with the agent''s version and the request');
SELECT is((SELECT string_agg(concat_ws(' ', d.row_id, d.kind, d.authority, d.verdict, coalesce(d.answer, '-'), coalesce(d.failure, '-'), trim_scale(d.cost) = coalesce(c.cost, 0), d.reasons), ', ' ORDER BY d.row_id)
	FROM agentpay.decisions d LEFT JOIN calls c USING (decision_id) WHERE d.point = 't_disp' AND d.agent = 't_disp' AND d.row_id <> 'p9'),
	'p1 agent shadow approve approve - t {SMALL}, p2 agent shadow approve approve - t {SMALL}, p3 agent shadow approve approve - t {SMALL}, '
	|| 'p4 fallback shadow approve - uncertain t {}, p6 fallback shadow approve - not_json t {}, p8 fallback shadow approve - skipped t {}', 'one decision of each that ended');
SELECT is((SELECT string_agg(d.row_id || ' ' || (d.detail - 'task_id')::text, ', ' ORDER BY d.row_id) FROM agentpay.decisions d
	WHERE d.point = 't_disp' AND d.agent = 't_disp' AND d.row_id <> 'p9' AND d.detail - 'task_id' <> '{}'),
	'p1 {"explanation": "a \"small\" one"}, p4 {"error": "cut off"}, p6 {"error": "a \\ and a \""}, p8 {"error": "the agent was removed"}', 'with what was explained, and what went wrong');
SELECT is((SELECT count(*) FROM agentpay.decisions d JOIN asked a USING (row_id) WHERE d.point = 't_disp' AND d.agent = 't_disp' AND (d.detail ->> 'task_id')::bigint = a.task_id), 7::bigint, 'each of its task');
SELECT is((SELECT string_agg(concat_ws(' ', a.row_id, w.state, w.attempt, w.lease, w.run_after > now() + interval '1 second', w.spent, w.bound_cost = b.usd), ', ' ORDER BY a.row_id)
	FROM agentpay._task_work w JOIN asked a USING (task_id) JOIN bound b USING (row_id)), 'p5 leased 1 t 0, p7 sent 1 77 0 t', 'p5 waits, and p7 is still under way');
SELECT is((SELECT string_agg(concat_ws(' ', a.row_id, h.state, h.settled_cost = coalesce(c.cost, b.usd)), ', ' ORDER BY a.row_id) FROM agentpay._holds h JOIN asked a USING (task_id)
	JOIN bound b USING (row_id) LEFT JOIN calls c USING (row_id) WHERE h.budget = 't_disp_hour'),
	'p1 settled t, p2 settled t, p3 settled t, p4 uncertain t, p5 settled t, p6 settled t, p7 held', 'and budgets know');

-- ── once more ───────────────────────────────────────────────────────────────
SELECT is((SELECT action || attempt FROM agentpay._prepare(77, ARRAY[pg_temp.task('p5')])), 'send2', 'the second attempt');
SELECT is_empty($$SELECT * FROM agentpay._record(77, ARRAY[pg_temp.ended('p5', '{"charge": "bound"}')])$$, 'what is said of the first one is too late');
SELECT is_empty($$SELECT * FROM agentpay._record(77, ARRAY[pg_temp.ended('p5', '{"attempt": 2, "charge": "bound", "verdict": "decline"}')])$$, 'then it ends');
SELECT is((SELECT d.kind || ' ' || d.verdict || ' ' || (d.cost = b.usd)::text FROM agentpay.decisions d JOIN bound b USING (row_id) WHERE d.point = 't_disp' AND d.row_id = 'p5' AND d.agent = 't_disp'),
	'agent decline true', 'with the cost of both');
SELECT is_empty($$SELECT * FROM agentpay._record(77, ARRAY[pg_temp.ended('p5', '{"attempt": 2, "charge": "bound"}')])$$, 'and is ended once');
SELECT * FROM finish();
ROLLBACK;
