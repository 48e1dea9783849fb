-- Payments of sixty days with their decisions: two points, four agents that were
-- asked about a tenth of them, one of which is live for half, retries, repeats,
-- labels on a tenth, cases, holds.  What a payment had is worked out from its
-- number, so that two runs are alike.
--
-- Log rows go through agentpay._append_all(), in a transaction for each batch;
-- cases past their triggers, which only know the way through the queue.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION agentpay;
CREATE SCHEMA bench;
CREATE TABLE bench.payments (id text PRIMARY KEY, at timestamptz NOT NULL,
	amount numeric, country text, card text, outcome text);
SELECT agentpay.attach('bench.payments', point => p, role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD')
  FROM unnest('{card,transfer}'::text[]) AS p;
UPDATE agentpay.decision_points SET label_maturity = '14 days';
INSERT INTO agentpay.rules (point, code, condition, score)
SELECT p, 'RULE_' || i, format('amount > %s', 100 * i), 10
  FROM unnest('{card,transfer}'::text[]) AS p, generate_series(1, 12) AS i;
SELECT agentpay.activate(p) FROM unnest('{card,transfer}'::text[]) AS p;
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('bench', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage,
	cost_center)
SELECT 'agent_' || i, CASE WHEN i < 3 THEN 'card' ELSE 'transfer' END,
	   'builtin', 'bench', 'false', 'shadow', 'center_' || i % 2
  FROM generate_series(0, 3) AS i;
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
SELECT p, 'all', '*', p, 100000
  FROM unnest('{hour,day,month,transaction}'::text[]) AS p;

-- ── what payment i was ──────────────────────────────────────────────────────
-- k-th draw of payment i, from 0 to 1
CREATE FUNCTION bench.draw(i bigint, k bigint) RETURNS double precision
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN (hashint8extended(i, k) & 1073741823) / 1073741824.0::double precision;
CREATE FUNCTION bench.id(kind int, i bigint, at timestamptz) RETURNS uuid
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN (lpad(to_hex((1000 * extract(epoch FROM at))::bigint), 12, '0')
		|| '7000800' || kind || lpad(to_hex(i), 12, '0'))::uuid;
CREATE UNLOGGED TABLE bench.size AS
SELECT :rows::bigint AS rows, now() - interval '60 days' AS since;

CREATE FUNCTION bench.payments(low bigint, high bigint)
	RETURNS TABLE (i bigint, row_id text, point text, at timestamptz,
		amount numeric, verdict text, said text, assignment text,
		propensity real, rules_id uuid, agent text, asked boolean,
		answer text, failure text, done boolean, label text)
	LANGUAGE sql STABLE SET jit = off
AS $$
	SELECT i, 'p' || i, x.point, x.at, x.amount,
		   CASE WHEN x.said = 'decline' AND x.explored THEN 'approve'
				ELSE x.said END,
		   x.said,
		   CASE WHEN x.said = 'decline' AND x.explored THEN 'explore'
				ELSE 'treatment' END,
		   (CASE x.said WHEN 'approve' THEN 1 WHEN 'decline' THEN 0.02
				ELSE 1 END)::real,
		   bench.id(1, i, x.at),
		   CASE x.point WHEN 'card' THEN 'agent_' || i % 3 ELSE 'agent_3' END,
		   bench.draw(i, 16) < 0.1,
		   CASE WHEN bench.draw(i, 4) < 0.9 THEN x.said
				WHEN bench.draw(i, 5) < 0.5 THEN 'approve' ELSE 'review' END,
		   CASE WHEN bench.draw(i, 6) < 0.02 THEN 'timeout'
				WHEN bench.draw(i, 6) < 0.03 THEN 'schema'
				WHEN bench.draw(i, 6) < 0.06 THEN 'low_confidence' END,
		   i < s.rows - 2000,
		   CASE WHEN bench.draw(i, 7) < 0.1 THEN
				CASE WHEN bench.draw(i, 8) < 0.3 THEN 'fraud' ELSE 'legit' END
				END
	  FROM bench.size s, generate_series(low, high) AS i,
		   LATERAL (SELECT
			CASE WHEN i % 10 < 7 THEN 'card' ELSE 'transfer' END AS point,
			date_trunc('milliseconds',
				s.since + i * interval '60 days' / s.rows) AS at,
			round((1000 * bench.draw(i, 1))::numeric, 2) AS amount,
			CASE WHEN bench.draw(i, 2) < 0.93 THEN 'approve'
				 WHEN bench.draw(i, 2) < 0.98 THEN 'review'
				 ELSE 'decline' END AS said,
			bench.draw(i, 3) < 0.02 AS explored) AS x
$$;

CREATE PROCEDURE bench.make(low bigint, high bigint)
	LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
	CREATE TEMP TABLE p ON COMMIT DROP AS
	SELECT * FROM bench.payments(low, high);
	PERFORM agentpay._append_all(array_agg(ROW(p.rules_id, p.at, p.point,
		p.row_id, p.at, p.amount, 'USD', p.amount, 'rules', 'live', p.verdict,
		CASE WHEN p.verdict <> p.said THEN p.said END, p.assignment, 0,
		p.propensity, floor(p.amount / 100),
		ARRAY(SELECT 'RULE_' || r
				FROM generate_series(1, (p.amount / 100)::int) AS r),
		1, NULL, NULL, NULL, NULL, jsonb_build_object('amount', p.amount,
			'country', (ARRAY['DE', 'FR', 'US', NULL])[1 + p.i % 4],
			'card_count_24h', p.i % 17, 'card_sum_7d', p.i % 10007,
			'since_last', p.i % 86413), 0, 0.1, NULL, NULL, NULL, NULL,
		NULL)::agentpay.decisions))
	   FROM pg_temp.p GROUP BY p.i / 1000;
	PERFORM agentpay._append_all(array_agg(ROW(
		10 * p.i + r, p.at, p.point, p.row_id, p.rules_id, p.agent, 1, NULL,
		bench.id(2, 10 * p.i + r, p.at), r, NULL, NULL, NULL, false, 0, 0,
		NULL)::agentpay._tasks))
	   FROM pg_temp.p
	  CROSS JOIN generate_series(0, CASE WHEN bench.draw(p.i, 17) < 0.005
									THEN 5 ELSE 0 END) AS r
	  WHERE p.asked GROUP BY p.i / 20000;
	PERFORM agentpay._append_all(array_agg(ROW(
		bench.id(3, 10 * p.i + r, p.at), p.at + interval '1 second', p.point,
		p.row_id, p.at, p.amount, 'USD', p.amount,
		CASE WHEN p.failure IS NULL THEN 'agent' ELSE 'fallback' END,
		CASE WHEN p.agent = 'agent_0' AND bench.draw(p.i, 18) < 0.5
			 THEN 'live' ELSE 'shadow' END,
		CASE WHEN p.failure IS NULL THEN p.answer ELSE p.said END,
		CASE WHEN p.failure IS NULL OR p.failure = 'low_confidence'
			 THEN p.answer END,
		'treatment', r, 1, CASE WHEN p.failure IS NULL
								THEN bench.draw(p.i, 9)::numeric END, '{}',
		NULL, p.agent, 1, CASE WHEN p.failure IS NULL
							   THEN bench.draw(p.i, 10)::real END, p.failure,
		NULL, 0.0004, 300, NULL, jsonb_build_object('task_id', 10 * p.i + r)
			|| CASE WHEN p.agent = 'agent_0' AND p.failure IS NULL
			   THEN '{"draw": {"decides": 0.5, "if_stopped": 0.02}}'::jsonb
			   ELSE '{}' END,
		NULL, NULL, NULL)::agentpay.decisions))
	   FROM pg_temp.p
	  CROSS JOIN generate_series(0, CASE WHEN bench.draw(p.i, 17) < 0.005
									THEN 5 ELSE 0 END) AS r
	  WHERE p.asked AND p.done GROUP BY p.i / 20000;
	PERFORM agentpay._append_all(array_agg(ROW(
		bench.id(4, 100 * p.i + 10 * r + a, p.at), p.at + interval '0.1 second',
		10 * p.i + r, a, bench.id(3, 10 * p.i + r, p.at), p.point, p.row_id,
		p.agent, 1, 'center_' || p.i % 2, 'openai', 'm', 'm', NULL, 900, 0, 60,
		'stop', 200, CASE WHEN a = 1 AND p.i % 32 = 0 THEN 'timeout'
						  WHEN p.failure IN ('timeout', 'schema')
						  THEN p.failure ELSE 'ok' END, NULL, 0.0006, 0.0004,
		20 * bench.draw(p.i, 11), (64 * bench.draw(p.i, 12))::int,
		200 + 500 * bench.draw(p.i, 13 + r),
		sha256(convert_to(p.row_id, 'UTF8')), NULL, NULL,
		NULL)::agentpay.agent_calls))
	   FROM pg_temp.p
	  CROSS JOIN generate_series(0, CASE WHEN bench.draw(p.i, 17) < 0.005
									THEN 5 ELSE 0 END) AS r
	  CROSS JOIN generate_series(1, CASE p.i % 32 WHEN 0 THEN 2 ELSE 1 END)
		AS a
	  WHERE p.asked AND p.done GROUP BY p.i / 20000;
	INSERT INTO agentpay._holds (budget, task_id, attempt, payment, state,
		bound_cost, settled_cost, held_at, counts_until)
	SELECT b.name, 10 * p.i, 1,
		   CASE b.name WHEN 'transaction' THEN 'bench.payments ' || p.row_id END,
		   'settled', 0.0006, 0.0004, p.at,
		   p.at + agentpay._period_length(b.name)
	  FROM pg_temp.p
	 CROSS JOIN agentpay.budgets b
	 WHERE p.asked AND p.done
	   AND p.at + agentpay._period_length(b.name) > now();
	PERFORM agentpay._append_all(array_agg(ROW(
		bench.id(5, 10 * p.i + c, p.at),
		p.at + c * interval '3 days', p.point, p.row_id,
		CASE c WHEN 1 THEN p.label ELSE 'legit' END,
		CASE WHEN p.label = 'fraud' THEN 'chargeback' ELSE 'analyst' END,
		CASE WHEN p.i % 3 = 0 AND p.label = 'fraud' THEN p.amount / 2 END,
		p.at, 'bench', NULL)::agentpay.outcomes))
	   FROM pg_temp.p
	  CROSS JOIN generate_series(1, CASE p.i % 50 WHEN 7 THEN 2 ELSE 1 END)
		AS c
	  WHERE p.label IS NOT NULL AND p.at + c * interval '3 days' < now()
	  GROUP BY p.i / 50000;
	INSERT INTO agentpay.cases (point, row_id, decision_id, agent, cause, state,
		opened_at, due_at, first_action_at, closed_at, resolution_id)
	SELECT p.point, p.row_id, p.rules_id, NULL, 'review',
		   CASE WHEN c.closed THEN 'closed' ELSE 'pending' END, p.at,
		   p.at + interval '1 day',
		   CASE WHEN c.closed THEN p.at + c.waits END,
		   CASE WHEN c.closed THEN p.at + 2 * c.waits END,
		   CASE WHEN c.closed THEN bench.id(6, p.i, p.at) END
	  FROM pg_temp.p
	 CROSS JOIN LATERAL (SELECT bench.draw(p.i, 14) < 0.9 AS closed,
			bench.draw(p.i, 15) * interval '5 hours' AS waits) AS c
	 WHERE p.said = 'review' AND p.i % 2 = 0;
END$$;

-- by hand: ALTER TABLE is refused
CREATE PROCEDURE bench.set_case_triggers(enabled "char")
	LANGUAGE sql
AS $$
	UPDATE pg_trigger SET tgenabled = enabled
	 WHERE tgrelid = 'agentpay.cases'::regclass;
	-- so that sessions look again
	UPDATE pg_class SET relname = relname
	 WHERE oid = 'agentpay.cases'::regclass;
$$;
CALL bench.set_case_triggers('D');
CREATE PROCEDURE bench.make_all(batch bigint)
	LANGUAGE plpgsql
AS $$
DECLARE
	rows bigint := (SELECT s.rows FROM bench.size s);
BEGIN
	FOR low IN 1 .. rows BY batch LOOP
		CALL bench.make(low, least(low + batch - 1, rows));
		COMMIT;
	END LOOP;
END$$;
CALL bench.make_all(50000);
CALL bench.set_case_triggers('A');
UPDATE agentpay._budget_totals t
   SET settled = h.cost, calls = h.calls
  FROM (SELECT h.budget, sum(h.settled_cost) AS cost, count(*) AS calls
		  FROM agentpay._holds h GROUP BY 1) AS h
 WHERE h.budget = t.budget;
-- What is open stays so: no dispatcher looks at it.
INSERT INTO agentpay._task_cursor
SELECT true, pg_current_snapshot(), pg_current_snapshot(), '0', 0;
