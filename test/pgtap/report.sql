-- report_html(): well-formed by an XML parser (libxml2, PostgreSQL's), whole in
-- itself, and nothing hostile in it is markup; on a database without agents,
-- and with them.
BEGIN;
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.has_parser() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM xmlparse(CONTENT '<a/>');
	RETURN true;
EXCEPTION WHEN feature_not_supported THEN
	RETURN false;
END$$;
SELECT pg_temp.has_parser() AS has_parser \gset
\if :has_parser
SELECT plan(17);
\else
SELECT plan(2);
SELECT matches(agentpay.report_html(), '^<!DOCTYPE html>.*</html>\s*$', 'a page');
SELECT skip('this server was built without an XML parser', 1);
ROLLBACK;
\quit
\endif
CREATE FUNCTION pg_temp.page() RETURNS xml LANGUAGE sql AS $$
	SELECT xmlparse(DOCUMENT agentpay.report_html()) $$;
CREATE FUNCTION pg_temp.texts(path text, page xml) RETURNS text[] LANGUAGE sql AS $$
	SELECT xpath(path, page, '{{h,http://www.w3.org/1999/xhtml}}')::text[] $$;
SELECT is(pg_temp.texts('//h:section/@id', pg_temp.page()), '{cost,per-million,budgets,leak,agreement,accuracy,calibration,rollout,escalations,compliance}'::text[], 'its sections');
SELECT throws_ok($$ SELECT agentpay.report_html(now(), now()) $$, '22023', NULL, 'an empty period');
SELECT throws_ok($$ SELECT agentpay.report_html('-infinity') $$, '22023', NULL, 'an endless period');
CREATE SCHEMA t_report;
CREATE TABLE t_report.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, amount numeric);
\o /dev/null
SELECT agentpay.attach('t_report.payments', point => 't_report', role => 'fraud', id => 'id', occurred_at => 'at');
UPDATE agentpay.decision_points SET labels_complete = true, label_maturity = '1 hour' WHERE point = 't_report';
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_report', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage, cost_center)
VALUES ('t_report', 't_report', 'builtin', 't_report', 'true', 'shadow', '<script>alert(1)</script>');
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
VALUES ('t_report', 'agent', 't_report', 'day', 10);
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE t (LIKE agentpay._tasks INCLUDING DEFAULTS);
CREATE TEMP TABLE c (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
CREATE TEMP TABLE o (LIKE agentpay.outcomes INCLUDING DEFAULTS);
-- 40 rows, the agent agrees on 30; each call costs 0.25
CREATE TEMP TABLE made AS SELECT i, gen_random_uuid() AS rules_id, gen_random_uuid() AS agent_id FROM generate_series(1, 40) AS i;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind, authority, verdict, xid)
SELECT rules_id, now() - interval '3 hours', 't_report', i, now() - interval '3 hours', 'rules', 'live', 'approve', pg_current_xact_id() FROM made;
INSERT INTO t (task_id, created_at, point, row_id, decision_id, agent, agent_version, idempotency_key, repeat_no, forced, xid)
SELECT 960000000 + i, now() - interval '3 hours', 't_report', i, rules_id, 't_report', 1, gen_random_uuid(), 0, false, pg_current_xact_id() FROM made;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind, authority, verdict, answer, agent, agent_version, confidence, score, cost, detail, xid)
SELECT agent_id, now() - interval '2 hours', 't_report', i, now() - interval '3 hours', 'agent', 'shadow', v, v, 't_report', 1, 0.8, 0.02 * i, 0.25,
	   jsonb_build_object('task_id', 960000000 + i), pg_current_xact_id()
  FROM made, LATERAL (SELECT CASE WHEN i <= 30 THEN 'approve' ELSE 'decline' END AS v) AS v;
INSERT INTO c (call_id, called_at, task_id, attempt, decision_id, point, row_id, agent, agent_version, cost_center, provider, status, cost, latency_ms, xid)
SELECT gen_random_uuid(), now() - interval '2 hours', 960000000 + i, 1, agent_id, 't_report', i, 't_report', 1,
	   E'"><img src=x onerror=alert(2)> & <script>alert(1)</script>\x01', 'openai', 'ok', 0.25, 100, pg_current_xact_id() FROM made;
INSERT INTO o SELECT gen_random_uuid(), now() - interval '1 hour', 't_report', i, CASE WHEN i > 30 THEN 'fraud' ELSE 'legit' END, 'import', NULL, now(), session_user, pg_current_xact_id() FROM made;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t;
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM c;
SELECT agentpay._append(ROW(o.*)::agentpay.outcomes) FROM o;
CREATE TEMP TABLE page AS SELECT pg_temp.page() AS page, agentpay.report_html() AS text;
\o
SELECT is(pg_temp.texts('//h:script|//h:img|//h:link|//h:iframe|//h:object|//h:image|//h:use', page), '{}', 'no script, nothing loaded') FROM page;
SELECT is(pg_temp.texts('//@*[starts-with(name(), "on") or name() = "src" or name() = "href"]', page), '{}', 'no handler, no address') FROM page;
SELECT unalike(text, '%url(%', 'nor in its style') FROM page;
SELECT unalike(text, '%@import%', 'nor an import') FROM page;
SELECT ok('"><img src=x onerror=alert(2)> & <script>alert(1)</script>?' = ANY (ARRAY(SELECT replace(replace(replace(replace(x, '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&amp;', '&') FROM unnest(pg_temp.texts('//h:section[@id="cost"]//h:td/text()', page)) x)), 'a hostile cost center is text') FROM page;
SELECT matches(text, '&quot;&gt;&lt;img src=x', 'escaped in quotes, too') FROM page;
-- 30 of 40, Wilson's interval by hand: centre (0.75 + 1.9207/40) / (1 + 3.8415/40), ± 0.1300
SELECT ok('75.0 % (59.8 to 85.8)' = ANY (pg_temp.texts('//h:section[@id="agreement"]//*[local-name()="text"]/text()', page)), 'agreement with its interval') FROM page;
-- 220 + 380 times 0.75, 0.59806 and 0.85813
SELECT is(pg_temp.texts('//h:section[@id="agreement"]//*[@class="range"]/@x1|//h:section[@id="agreement"]//*[@class="range"]/@x2|//h:section[@id="agreement"]//*[@class="dot"]/@cx', page), '{447.3,546.1,505.0}', 'drawn where it belongs') FROM page;
SELECT ok('100.0 %' = ANY (pg_temp.texts('//h:section[@id="accuracy"]//h:td/text()', page)) AND '75.0 %' = ANY (pg_temp.texts('//h:section[@id="accuracy"]//h:td/text()', page)), 'accuracy: the agent all, the rules three quarters') FROM page;
SELECT ok('10 USD' = ANY (pg_temp.texts('//h:section[@id="cost"]//h:td/text()', page)), 'the cost: 40 calls of 0.25') FROM page;
SELECT cmp_ok(cardinality(pg_temp.texts('//*[local-name()="svg"]', page)), '>=', 6, 'charts') FROM page;
SELECT is((SELECT count(*) FROM unnest(pg_temp.texts('//h:section[@id="compliance"]//h:tr', page))), 30::bigint, 'a line for each control, and its head') FROM page;

-- How many payments: over ten days, some decided at midnight, one at both ends.
\o /dev/null
SELECT agentpay._append(ROW(n.*)::agentpay.decisions)
  FROM (SELECT d.* FROM d WHERE d.kind = 'rules' LIMIT 1) AS one
 CROSS JOIN generate_series(0, 60) AS i
 CROSS JOIN LATERAL (SELECT (jsonb_populate_record(one::d, jsonb_build_object(
		'decision_id', agentpay._uuid_v7(), 'row_id', 'day ' || i,
		'decided_at', date_trunc('day', now(), 'UTC') - i * interval '4 hours'))).*) AS n;
\o
SELECT is(agentpay._payments_between(date_trunc('day', now(), 'UTC') - interval '10 days',
	date_trunc('day', now(), 'UTC')), 60 + (SELECT count(*) FROM agentpay.decisions d
		WHERE kind = 'rules' AND row_id NOT LIKE 'day %' AND decided_at >= date_trunc('day', now(), 'UTC') - interval '10 days'
		AND decided_at < date_trunc('day', now(), 'UTC')), 'ten whole days: from since on, until before until');
SELECT is_empty($$ SELECT since, until
  FROM (SELECT now() - i * interval '7 hours', now() - j * interval '5 hours 1 second'
		  FROM generate_series(1, 40, 3) AS i, generate_series(0, 30, 3) AS j) AS x (since, until)
 WHERE since < until AND agentpay._payments_between(since, until) <> (
	SELECT count(*) FROM agentpay.decisions d
	 WHERE d.kind = 'rules' AND d.decided_at >= since AND d.decided_at < until) $$,
	'any span counts what the log has');
SELECT * FROM finish();
ROLLBACK;
