-- The tables that `make bench` prints, from the measurements of its rounds.

CREATE TEMP TABLE medians AS
SELECT mode, arm, count(*) AS rounds,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms,
	   min(ms) AS ms_min, max(ms) AS ms_max,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu_ms) AS cpu_ms,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY tps) AS tps,
	   min(tps) AS tps_min, max(tps) AS tps_max
  FROM bench.measurements GROUP BY mode, arm;

\echo
\echo 'Bulk: milliseconds, medians of the rounds'
SELECT m.mode, m.arm, m.rounds, round(m.ms) AS ms,
	   round(m.ms_min) || '–' || round(m.ms_max) AS spread,
	   round((1000 * m.ms / :rows)::numeric, 1) AS "µs/row",
	   round(m.cpu_ms) AS "CPU ms"
  FROM medians m JOIN bench.arms a USING (arm)
 WHERE m.ms IS NOT NULL ORDER BY m.mode DESC, a.place;

\echo 'pgbench, single rows, 4 clients: transactions per second, medians'
SELECT m.mode, m.arm, m.rounds AS seconds, round(m.tps) AS tps,
	   round(m.tps_min) || '–' || round(m.tps_max) AS spread
  FROM medians m JOIN bench.arms a USING (arm)
 WHERE m.tps IS NOT NULL ORDER BY m.mode, a.place;

-- Arms of one round ran one after the other, so that a ratio within a round
-- suffers least from what else the machine did.
\echo 'Ratios: medians of the ratios within each round'
WITH wanted (place, what, mode, arm, beside, target) AS (VALUES
	(1, 'time, ours / floor', 'INSERT', 'ours', 'floor', 1.3),
	(2, 'time, ours / floor', 'COPY', 'ours', 'floor', 1.3),
	(3, 'rate, ours / floor', 'pgbench, commit asynchronous', 'ours', 'floor',
	 0.8),
	(4, 'rate, ours / floor', 'pgbench, commit synchronous', 'ours', 'floor',
	 0.8),
	(5, 'time, PL/pgSQL / ours', 'INSERT', 'plpgsql', 'ours', NULL),
	(6, 'time, PL/pgSQL / ours', 'COPY', 'plpgsql', 'ours', NULL),
	(7, 'rate, ours / PL/pgSQL', 'pgbench, commit asynchronous', 'ours',
	 'plpgsql', NULL),
	(8, 'rate, ours / PL/pgSQL', 'pgbench, commit synchronous', 'ours',
	 'plpgsql', NULL),
	(9, 'time, PL/pgSQL / ours, windows', 'INSERT', 'plpgsql_windows',
	 'ours_windows', NULL),
	(10, 'time, floor / bare', 'INSERT', 'floor', 'bare', NULL),
	(11, 'time, floor / bare', 'COPY', 'floor', 'bare', NULL),
	(12, 'time, ours / floor unchecked', 'INSERT', 'ours', 'floor_unchecked',
	 NULL),
	(13, 'time, ours / floor unchecked', 'COPY', 'ours', 'floor_unchecked',
	 NULL),
	(14, 'rate, ours / floor unchecked', 'pgbench, commit asynchronous',
	 'ours', 'floor_unchecked', NULL),
	(15, 'rate, ours / floor unchecked', 'pgbench, commit synchronous',
	 'ours', 'floor_unchecked', NULL)),
ratios AS (
	SELECT w.place, w.what, w.mode, w.target,
		   percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ratio) AS ratio,
		   min(r.ratio) AS least, max(r.ratio) AS most,
		   percentile_cont(0.5) WITHIN GROUP (ORDER BY r.cpu) AS cpu
	  FROM wanted w
	  JOIN bench.measurements m ON m.mode = w.mode AND m.arm = w.arm
	  JOIN bench.measurements b ON b.mode = w.mode AND b.arm = w.beside
	   AND b.round = m.round,
		   LATERAL (VALUES (coalesce(m.ms / b.ms, m.tps / b.tps),
							m.cpu_ms / b.cpu_ms)) AS r (ratio, cpu)
	 GROUP BY w.place, w.what, w.mode, w.target)
SELECT what, mode, round(ratio::numeric, 2) AS ratio,
	   round(least::numeric, 2) || '–' || round(most::numeric, 2) AS spread,
	   round(cpu::numeric, 2) AS "of CPU time",
	   CASE WHEN what LIKE 'time%' THEN 'at most ' ELSE 'at least ' END
	   || target AS target,
	   CASE WHEN what LIKE 'time%' THEN ratio <= target
			ELSE ratio >= target END AS met
  FROM ratios ORDER BY place;
