-- How long cases wait: against test/oracle/kaplan_meier.py, whose cases these
-- are and which printed the expected figures (the definition, in fractions).
BEGIN;
SET client_min_messages = warning;
SELECT plan(7);
CREATE SCHEMA t_esc;
CREATE TABLE t_esc.payments (id text PRIMARY KEY, at timestamptz NOT NULL);
SELECT agentpay.attach('t_esc.payments', point => 't_esc', role => 'fraud',
	id => 'id', occurred_at => 'at') \g /dev/null
UPDATE agentpay.decision_points SET time_zone = 'Pacific/Auckland' WHERE point = 't_esc';
-- the view over cases of our own, with a clock that stands still
CREATE TABLE t_esc.cases (LIKE agentpay.cases INCLUDING DEFAULTS INCLUDING IDENTITY);
DO $$ BEGIN
	EXECUTE 'CREATE OR REPLACE VIEW agentpay._case_times AS '
		|| replace(replace(pg_get_viewdef('agentpay._case_times'), 'agentpay.cases', 't_esc.cases'),
			'agentpay._now()', '''2026-03-10 20:00:00+00''::timestamptz');
END $$;
CREATE FUNCTION pg_temp.cases(agent text, cause text, human int[], closed int[], opened int[])
	RETURNS void LANGUAGE sql AS $$
	INSERT INTO t_esc.cases (point, row_id, decision_id, agent, cause, state,
		opened_at, due_at, first_action_at, closed_at, resolution_id)
	SELECT 't_esc', concat_ws('-', agent, cause, i), gen_random_uuid(), agent, cause,
		   CASE WHEN closed[i] IS NULL THEN 'pending' ELSE 'closed' END, o.at,
		   o.at + interval '500 s', o.at + human[i] * interval '1 s',
		   o.at + closed[i] * interval '1 s',
		   CASE WHEN closed[i] IS NOT NULL THEN gen_random_uuid() END
	  FROM generate_subscripts(opened, 1) AS i
	 CROSS JOIN LATERAL (SELECT '2026-03-10 20:00:00+00'::timestamptz
			- opened[i] * interval '1 s' AS at) AS o $$;
SELECT pg_temp.cases('closed', 'low_confidence', array_agg(60 * i), array_agg(120 * i), array_agg(9000))
  FROM generate_series(1, 20) AS i \g /dev/null
SELECT pg_temp.cases('open', 'low_confidence', '{100,200,300,NULL,NULL,300}',
	'{500,NULL,400,NULL,NULL,900}', '{1000,1000,1000,200,1000,1000}') \g /dev/null
SELECT pg_temp.cases('untouched', 'over_authority', '{NULL,NULL}', '{NULL,NULL}', '{50,70}') \g /dev/null
SELECT pg_temp.cases(NULL, 'review', '{7}', '{7}', '{7}') \g /dev/null
CREATE FUNCTION pg_temp.figures(a text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', opened, closed, open, overdue) || '; '
		|| (SELECT string_agg(coalesce(round(extract(epoch FROM v), 6)::text, 'NULL'), ' ' ORDER BY ord)
			  FROM unnest(ARRAY[to_human_median, to_human_mean, to_human_p95,
				to_resolution_mean, to_resolution_p95]) WITH ORDINALITY AS u (v, ord))
	  FROM agentpay.escalations e
	 WHERE e.point = 't_esc' AND e.agent IS NOT DISTINCT FROM a $$;
SELECT is(pg_temp.figures('closed'), '20 20 0 0; 600.000000 630.000000 1140.000000 1260.000000 2280.000000',
	'all closed: median, mean and 95th percentile');
-- two of the three open ones were opened more than 500 s ago
SELECT is(pg_temp.figures('open'), '6 3 3 2; 300.000000 405.555556 NULL 760.000000 NULL',
	'open ones are censored, ties included');
SELECT is(pg_temp.figures('untouched'), '2 0 2 0; NULL 70.000000 NULL 70.000000 NULL',
	'nobody has touched any: no median');
SELECT is(pg_temp.figures(NULL), '1 1 0 0; 7.000000 7.000000 7.000000 7.000000 7.000000', 'one alone');
SELECT is((SELECT string_agg(DISTINCT day::text, ',') FROM agentpay.escalations WHERE point = 't_esc'),
	'2026-03-11', 'the day is that of the point''s time zone');

-- another day is another cohort; the median where the curve is at exactly a half
SELECT pg_temp.cases('half', 'review', '{10,20,NULL,NULL}', '{NULL,NULL,NULL,NULL}', '{30,30,30,86430}') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', day, opened, extract(epoch FROM to_human_median)::int), ', ' ORDER BY day)
			 FROM agentpay.escalations WHERE agent = 'half'),
	'2026-03-10 1, 2026-03-11 3 20', 'cohorts by the day of opening');
SELECT pg_temp.cases('even', 'review', '{10,20,30,40}', '{NULL,NULL,NULL,NULL}', '{90,90,90,90}') \g /dev/null
SELECT is((SELECT extract(epoch FROM to_human_median)::int FROM agentpay.escalations WHERE agent = 'even'),
	20, 'of four, the second one: the first time at which at most half wait');

SELECT * FROM finish();
ROLLBACK;
