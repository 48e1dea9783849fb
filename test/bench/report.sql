-- The tables that `make bench` prints, from the measurements of its rounds.

CREATE TEMP TABLE medians AS
SELECT mode, arm, count(*) AS rounds, max(rows) AS rows,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms,
	   min(ms) AS ms_min, max(ms) AS ms_max,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY ms / rows) AS ms_a_row,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu_ms) AS cpu_ms,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY tps) AS tps,
	   min(tps) AS tps_min, max(tps) AS tps_max
  FROM bench.measurements GROUP BY mode, arm;

\echo
\echo 'Bulk: milliseconds, medians of the rounds'
SELECT m.mode, m.arm, m.rounds, m.rows, round(m.ms) AS ms,
	   round(m.ms_min) || '–' || round(m.ms_max) AS spread,
	   round((1000 * m.ms_a_row)::numeric, 1) AS "µs/row",
	   round(m.cpu_ms) AS "CPU ms"
  FROM medians m JOIN bench.arms a USING (arm)
 WHERE m.ms IS NOT NULL ORDER BY m.mode DESC, a.place;

\echo 'pgbench, single rows, 4 clients: transactions per second, medians'
SELECT m.mode, m.arm, m.rounds AS seconds, round(m.tps) AS tps,
	   round(m.tps_min) || '–' || round(m.tps_max) AS spread
  FROM medians m JOIN bench.arms a USING (arm)
 WHERE m.tps IS NOT NULL ORDER BY m.mode, a.place;

-- Arms of one round ran one after the other, so that a figure within a round
-- suffers least from what else the machine did.
CREATE TEMP VIEW pairs AS
SELECT m.round, m.mode, m.arm, b.arm AS beside, m.ms, b.ms AS beside_ms,
	   m.ms / m.rows AS ms_a_row, b.ms / b.rows AS beside_ms_a_row, m.cpu_ms,
	   b.cpu_ms AS beside_cpu_ms, m.tps, b.tps AS beside_tps, m.rows
  FROM bench.measurements m JOIN bench.measurements b USING (mode, round);

\echo 'Reach: medians of the figures of each round'
WITH wanted (place, what, mode, arm, beside, figure, bound, reach) AS (VALUES
	(1, 'INSERT … SELECT: time, ours / floor', 'INSERT', 'ours', 'floor',
	 'ratio', 'most', 1.2),
	(2, 'INSERT … SELECT: time, PL/pgSQL / ours', 'INSERT', 'plpgsql', 'ours',
	 'ratio', 'least', 5),
	(3, '  the same, its windows merged to two queries', 'INSERT',
	 'plpgsql_merged', 'ours', 'ratio', 'least', NULL),
	(4, 'COPY: time, ours / floor', 'COPY', 'ours', 'floor', 'ratio', 'most',
	 1.5),
	(5, 'pgbench, synchronous_commit off: rate, ours / floor',
	 'pgbench, commit asynchronous', 'ours', 'floor', 'rate', 'least', 0.85),
	(6, 'pgbench, synchronous_commit on: rate, ours / floor',
	 'pgbench, commit synchronous', 'ours', 'floor', 'rate', 'least', 0.85),
	(7, '1,000 rules: ns a rule and row, beyond the first ten', 'rules',
	 'rules_1000', 'rules_10', 'rules', 'most', 100),
	(8, 'a key with 1,000,000 rows in its window / one with 10, a row', 'key',
	 'key_1000000', 'key_10', 'row', 'most', 2),
	(10, '60 trees of depth 5: µs a row', 'trees', 'trees_on', 'trees_off',
	 'models', 'most', 3),
	(11, 'INSERT … SELECT: time, floor / bare', 'INSERT', 'floor', 'bare',
	 'ratio', 'least', NULL),
	(12, 'INSERT … SELECT: time, ours / floor unchecked', 'INSERT', 'ours',
	 'floor_unchecked', 'ratio', 'most', NULL),
	(13, 'COPY: time, ours / floor unchecked', 'COPY', 'ours',
	 'floor_unchecked', 'ratio', 'most', NULL),
	(14, 'pgbench, synchronous_commit off: rate, ours / floor unchecked',
	 'pgbench, commit asynchronous', 'ours', 'floor_unchecked', 'rate',
	 'least', NULL),
	(15, 'pgbench, synchronous_commit on: rate, ours / floor unchecked',
	 'pgbench, commit synchronous', 'ours', 'floor_unchecked', 'rate',
	 'least', NULL)),
figures AS (
	SELECT w.place, w.what, w.bound, w.reach, p.round,
		   CASE w.figure
		   WHEN 'ratio' THEN p.ms / p.beside_ms
		   WHEN 'rate' THEN p.tps / p.beside_tps
		   WHEN 'rules' THEN (p.ms - p.beside_ms) * 1e6 / (990 * p.rows)
		   WHEN 'row' THEN p.ms_a_row / p.beside_ms_a_row
		   WHEN 'models' THEN (p.ms - p.beside_ms) * 1000 / (10 * p.rows)
		   END AS figure,
		   CASE w.figure
		   WHEN 'ratio' THEN p.cpu_ms / p.beside_cpu_ms
		   WHEN 'rules' THEN (p.cpu_ms - p.beside_cpu_ms) * 1e6 / (990 * p.rows)
		   WHEN 'models' THEN (p.cpu_ms - p.beside_cpu_ms) * 1000 / (10 * p.rows)
		   END AS cpu
	  FROM wanted w JOIN pairs p USING (mode, arm, beside)
	UNION ALL
	SELECT 9, 'memory: bytes a remembered event and value, in all', 'most', 40,
		   round, bytes / rows, NULL
	  FROM bench.measurements WHERE mode = 'memory')
SELECT what, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY figure)
				   ::numeric, 2) AS measured,
	   round(min(figure)::numeric, 2) || '–' || round(max(figure)::numeric, 2)
		   AS spread,
	   round(percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu)::numeric, 2)
		   AS "of CPU time",
	   'at ' || bound || ' ' || reach AS reach,
	   CASE bound
	   WHEN 'most' THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY figure)
						<= reach
	   ELSE percentile_cont(0.5) WITHIN GROUP (ORDER BY figure) >= reach
	   END AS met
  FROM figures GROUP BY place, what, bound, reach ORDER BY place;
