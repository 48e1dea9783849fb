-- 82_rule_stats.sql
--		What each rule did, over all decisions, in a moment: from what is counted
--		(79_decision_counts.sql).

-- ── rule_stats ──────────────────────────────────────────────────────────────
CREATE VIEW agentpay._rule_truths AS
SELECT s.point, s.version, s.reasons, s.failed,
	   CASE WHEN NOT s.due THEN NULL
			WHEN s.role <> 'fraud' THEN v.is_positive
			ELSE (s.use).label = 'fraud' END AS truth,
	   s.due AND (s.use).unobservable AS unobservable,
	   (s.use).weight, s.n, s.last_at
  FROM (
	SELECT k.*, agentpay._use_label(k.stopped, k.assignment,
			CASE WHEN k.labels_complete THEN 1 ELSE k.propensity END, k.truth,
			bool_and(k.truth IS NOT NULL)
				FILTER (WHERE k.due AND k.stopped AND k.assignment <> 'audit')
				OVER (PARTITION BY k.point, k.version, k.said, k.propensity))
				AS use
	  FROM (
		SELECT c.*, p.role, p.labels_complete, t.stopped,
			   coalesce(c.label, CASE WHEN p.role = 'fraud' AND NOT t.stopped
									  THEN 'legit' END) AS truth
		  FROM agentpay._rule_cells() AS c
		  JOIN agentpay.decision_points p ON p.point = c.point
		  LEFT JOIN agentpay.verdicts g
			ON g.point = c.point AND g.verdict = c.given
		 CROSS JOIN LATERAL (SELECT agentpay._is_stopped(p.role,
				p.labels_complete, g.positive, c.assignment, c.propensity)
			AS stopped) AS t) AS k) AS s
  LEFT JOIN agentpay._readings v
	ON v.point = s.point AND v.verdict = (s.use).label
	   AND v.positive = 'positive';
REVOKE ALL ON agentpay._rule_truths FROM PUBLIC;
COMMENT ON VIEW agentpay._rule_truths IS '_rule_cells(), with what turned out';

CREATE VIEW agentpay.rule_stats AS
WITH cells AS MATERIALIZED (SELECT * FROM agentpay._rule_truths),
decided AS (
	SELECT c.point, c.version, sum(c.n) AS n FROM cells c GROUP BY 1, 2),
matched AS (
	SELECT c.point, c.version, r.code, sum(c.n) AS n,
		   max(c.last_at) AS last_at,
		   sum(c.n) FILTER (WHERE c.truth IS NOT NULL) AS labelled,
		   sum(c.n * c.weight) FILTER (WHERE c.truth IS NOT NULL) AS weight,
		   sum(c.n * c.weight) FILTER (WHERE c.truth) AS positive,
		   bool_or(c.unobservable) AS unobservable
	  FROM cells c CROSS JOIN LATERAL unnest(c.reasons) AS r (code)
	 GROUP BY 1, 2, 3),
failed AS (
	SELECT c.point, c.version, f.code, sum(c.n) AS n
	  FROM cells c CROSS JOIN LATERAL unnest(c.failed) AS f (code)
	 GROUP BY 1, 2, 3)
SELECT r.point, r.version, r.code, e.evaluated::bigint AS evaluated,
	   coalesce(m.n, 0)::bigint AS hits,
	   agentpay._rate(coalesce(m.n, 0), e.evaluated) AS share,
	   coalesce(f.n, 0)::bigint AS errors,
	   coalesce(m.labelled, 0)::bigint AS labelled_hits,
	   CASE WHEN NOT m.unobservable
			THEN agentpay._rate(coalesce(m.positive, 0), m.weight) END
		   AS precision,
	   m.last_at AS last_hit, r.snoozed_until
  FROM (SELECT r.*, s.mode,
			   coalesce(sum(h.n) OVER before, 0) AS taken
		  FROM agentpay.rules r
		  JOIN agentpay.rulesets s ON s.point = r.point
			   AND s.version = r.version AND s.state <> 'draft'
		  LEFT JOIN matched h ON h.point = r.point AND h.version = r.version
			   AND h.code = r.code
		WINDOW before AS (PARTITION BY r.point, r.version
			ORDER BY r.priority, r.code COLLATE "C"
			ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS r
  LEFT JOIN decided d ON d.point = r.point AND d.version = r.version
  LEFT JOIN matched m ON m.point = r.point AND m.version = r.version
	   AND m.code = r.code
  LEFT JOIN failed f ON f.point = r.point AND f.version = r.version
	   AND f.code = r.code
 CROSS JOIN LATERAL (SELECT CASE WHEN r.enabled THEN coalesce(d.n, 0)
		- CASE r.mode WHEN 'first_match' THEN r.taken ELSE 0 END ELSE 0 END
		AS evaluated) AS e;
REVOKE ALL ON agentpay.rule_stats FROM PUBLIC;
COMMENT ON VIEW agentpay.rule_stats IS 'what each rule of each version that decided, or was evaluated in shadow, has done: dead ones have no hits, noisy ones a low precision';
COMMENT ON COLUMN agentpay.rule_stats.evaluated IS 'decisions of that version in which the rule was reached; first_match: those that no rule before it decided. A time of snoozing counts, without hits';
COMMENT ON COLUMN agentpay.rule_stats.hits IS 'rows that it matched';
COMMENT ON COLUMN agentpay.rule_stats.share IS 'hits / evaluated';
COMMENT ON COLUMN agentpay.rule_stats.errors IS 'rows for which it failed';
COMMENT ON COLUMN agentpay.rule_stats.labelled_hits IS 'hits whose label is known and counts, of rows older than the point''s label_maturity, unless its labels are complete';
COMMENT ON COLUMN agentpay.rule_stats.precision IS 'of the labelled hits, those that turned out fraud (other roles: whose label is a positive verdict), weighted by 1 / propensity; NULL where a hit that should count was stopped, and nobody has labelled it';
COMMENT ON COLUMN agentpay.rule_stats.last_hit IS 'when it last matched';
COMMENT ON COLUMN agentpay.rule_stats.snoozed_until IS 'as in rules';
