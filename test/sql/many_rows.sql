-- A statement of many rows: what waits between BEFORE and AFTER spills to
-- disk, and every row still gets its own decision.
\set SHOW_CONTEXT never
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL work_mem = '64kB';
CREATE TABLE public.t_many (id bigint PRIMARY KEY, at timestamptz NOT NULL,
	amount numeric NOT NULL, note text, outcome text);
SELECT agentpay.attach('public.t_many', 't_many', 'fraud', 'id', 'at',
	'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_many', 'ODD', 'mod(amount, 2) = 1 AND note <> ''''', 50);
SELECT agentpay.activate('t_many');

INSERT INTO public.t_many (id, at, amount, note)
SELECT n, now(), n, repeat('x', (n % 500)::int)
  FROM generate_series(1, 20000) AS n;
-- odd numbers have a note, even those that are one more than a multiple of 500
SELECT p.outcome, count(*), count(d.row_id) AS decisions,
	   count(*) FILTER (WHERE d.verdict = p.outcome AND d.amount = p.amount
			AND (d.inputs ->> 'note') = p.note) AS right_ones
  FROM public.t_many p LEFT JOIN agentpay.decisions d
	ON d.point = 't_many' AND d.row_id = p.id::text
 GROUP BY p.outcome ORDER BY p.outcome;

-- those that are there already are skipped
INSERT INTO public.t_many (id, at, amount, note)
SELECT n, now(), n, repeat('y', (n % 500)::int)
  FROM generate_series(1, 40000) AS n WHERE n > 20000 OR n % 2 = 0
	ON CONFLICT (id) DO NOTHING;
SELECT count(*), count(DISTINCT row_id) FROM agentpay.decisions
 WHERE point = 't_many';
ROLLBACK;
