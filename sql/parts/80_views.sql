-- 80_views.sql
--		The reports: what the agents would have decided, how right they were,
--		and what they cost.
--
-- Each view reads what is kept of the payments that were asked about
-- (79_asked_rows.sql), reduces it to a small table of counted cells, and
-- computes every figure from those cells: no subquery and no function runs per
-- payment.  Rates are rounded to six places, costs to the nano-dollar
-- where they were divided.  "Now" is agentpay's clock, asked once a query.
--
-- Joins of logs have equalities on nearly unique columns only; the others
-- are IS NOT DISTINCT FROM, which no join can use as its key.  Nobody
-- analyses the parents of partitions, so the planner takes point and agent for
-- selective, and a merge join on point alone compares every pair of rows (18 s
-- instead of 1 s at 66,000 answers).

-- ── statistics ──────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._rate(k numeric, n numeric) RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT round(k / nullif(n, 0), 6)
$$;
REVOKE ALL ON FUNCTION agentpay._rate(numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._rate(numeric, numeric) IS 'k of n to six places; NULL when n is 0';

-- E. B. Wilson, Probable inference, the law of succession, and statistical
-- inference, JASA 22 (1927) 209-212: the p for which k of n lies within z
-- standard errors, (2k + z² ± z √(z² + 4k(n − k)/n)) / 2(n + z²).
CREATE FUNCTION agentpay._wilson(k numeric, n numeric,
	z numeric DEFAULT 1.959963984540054) RETURNS numeric[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY[round(greatest(centre - half, 0), 6),
				 round(least(centre + half, 1), 6)]
	  FROM (SELECT (2 * k + z * z) / (2 * (n + z * z)) AS centre,
				   z * sqrt(z * z + 4 * k * (n - k) / nullif(n, 0))
					   / (2 * (n + z * z))
					   AS half
			 -- a plan for known arguments may divide before it asks this
			 WHERE n > 0 AND k BETWEEN 0 AND n) AS w
$$;
REVOKE ALL ON FUNCTION agentpay._wilson(numeric, numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._wilson(numeric, numeric, numeric) IS 'Wilson''s score interval (1927) of k out of n, as {low, high}; NULL when n is 0';

-- J. Cohen, A coefficient of agreement for nominal scales, Educational and
-- Psychological Measurement 20 (1960) 37-46.  The pair (first[i], second[i])
-- was seen n[i] times; p_e is the agreement of independent raters with the
-- same marginals.
CREATE FUNCTION agentpay._kappa(first text[], second text[], n numeric[])
	RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH pairs AS (
		SELECT a, b, c FROM unnest(first, second, n) AS u (a, b, c)),
	marginals AS (
		SELECT sum(m.as_first) * sum(m.as_second) AS product
		  FROM (SELECT a AS v, c AS as_first, 0 AS as_second FROM pairs
				UNION ALL
				SELECT b, 0, c FROM pairs) AS m
		 GROUP BY m.v)
	-- (p_o − p_e) / (1 − p_e), with every term times total²
	SELECT round((t.total * t.agreed - e.expected)
				 / nullif(t.total * t.total - e.expected, 0), 6)
	  FROM (SELECT sum(c) AS total, sum(c) FILTER (WHERE a = b) AS agreed
			  FROM pairs) AS raw,
		   LATERAL (SELECT raw.total, coalesce(raw.agreed, 0) AS agreed) AS t,
		   (SELECT sum(product) AS expected FROM marginals) AS e
$$;
REVOKE ALL ON FUNCTION agentpay._kappa(text[], text[], numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._kappa(text[], text[], numeric[]) IS 'Cohen''s kappa (1960) of counted pairs; NULL when chance alone would agree always';

CREATE FUNCTION agentpay._sum_by(keys text[], n numeric[]) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(jsonb_object_agg(s.k, s.total), '{}')
	  FROM (SELECT u.k, sum(u.c) AS total FROM unnest(keys, n) AS u (k, c)
			 WHERE u.k IS NOT NULL GROUP BY u.k) AS s
$$;
REVOKE ALL ON FUNCTION agentpay._sum_by(text[], numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._sum_by(text[], numeric[]) IS '{"key": sum of its n}, without NULL keys';

-- B. Efron, Bootstrap methods, Annals of Statistics 7 (1979) 1-26: days are
-- drawn with replacement, since payments of one day are alike.  Draws come
-- from a hash of (replicate, position): the same rows give the same interval.
CREATE FUNCTION agentpay._bootstrap_ratio(numerators double precision[],
	denominators double precision[], replicates int DEFAULT 1000)
	RETURNS double precision[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_bootstrap_ratio';
REVOKE ALL ON FUNCTION agentpay._bootstrap_ratio(double precision[],
	double precision[], int) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._bootstrap_ratio(double precision[],
	double precision[], int) IS '95 % percentile interval {low, high} of sum of numerators / sum of denominators over resampled pairs (Efron 1979), deterministic; NULL with fewer than two';

-- ── what the reports share ──────────────────────────────────────────────────
-- A task ends with one decision of its agent.  An answer is valid when it was
-- JSON of the right shape with a verdict of the point; what then became of it
-- (too unsure, beyond its authority) is another question.
CREATE VIEW agentpay._task_decisions AS
SELECT (d.detail ->> 'task_id')::bigint AS task_id,
	   d.decision_id, d.point, d.row_id, d.agent, d.authority, d.verdict,
	   d.failure, d.kind,
	   CASE WHEN d.kind = 'agent' THEN coalesce(d.answer, d.verdict)
			WHEN d.failure IN ('low_confidence', 'over_authority')
			THEN d.answer END AS valid_answer,
	   d.confidence, CASE WHEN d.kind = 'agent' THEN d.score END AS score,
	   d.assignment
  FROM agentpay.decisions d
 WHERE d.kind IN ('agent', 'fallback') AND d.repeat_no = 0
   AND NOT d.detail ? 'late';
REVOKE ALL ON agentpay._task_decisions FROM PUBLIC;
COMMENT ON VIEW agentpay._task_decisions IS 'the decision that ended each task';

CREATE AGGREGATE agentpay._product(numeric) (
	SFUNC = pg_catalog.numeric_mul, STYPE = numeric, INITCOND = '1',
	COMBINEFUNC = pg_catalog.numeric_mul, PARALLEL = SAFE);
REVOKE ALL ON FUNCTION agentpay._product(numeric) FROM PUBLIC;

-- What agents beyond shadow made of a row.  Their draws are independent, and of
-- those that decide a verdict that stops prevails, so the label is observed
-- with probability
--   (1 - S) if_stopped + S (1 - P) + S P π(rules)
-- where S and P are the probabilities that no agent decides whose verdict stops
-- the row, and none whose verdict lets it pass.
CREATE VIEW agentpay._row_effects AS
SELECT d.point, d.row_id,
	   (array_agg(d.verdict ORDER BY d.decided_at DESC, d.decision_id DESC)
			FILTER (WHERE d.authority = 'live'))[1] AS given,
	   agentpay._product(1 - q.decides) FILTER (WHERE v.positive) AS unstopped,
	   agentpay._product(1 - q.decides) FILTER (WHERE NOT v.positive)
		   AS unpassed,
	   max(q.if_stopped) AS if_stopped
  FROM agentpay.decisions d
  JOIN agentpay.verdicts v ON v.point = d.point AND v.verdict = d.verdict
 CROSS JOIN LATERAL (
	SELECT (d.detail #>> '{draw,decides}')::numeric AS decides,
		   (d.detail #>> '{draw,if_stopped}')::numeric AS if_stopped) AS q
 WHERE d.kind = 'agent' AND d.repeat_no = 0 AND d.detail ? 'draw'
   AND NOT d.detail ? 'late'
 GROUP BY d.point, d.row_id;
REVOKE ALL ON agentpay._row_effects FROM PUBLIC;
COMMENT ON VIEW agentpay._row_effects IS 'rows whose label agents beyond shadow may keep from being learned';
COMMENT ON COLUMN agentpay._row_effects.given IS 'the verdict of the agent that decided; NULL: the rules did';

CREATE FUNCTION agentpay._row_propensity(unstopped numeric, unpassed numeric,
	if_stopped numeric, by_rules real) RETURNS real
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ((1 - s) * if_stopped
			+ s * ((1 - p) + p * by_rules::numeric))::real
	  FROM (SELECT coalesce(unstopped, 1) AS s, coalesce(unpassed, 1) AS p) AS x
$$;
REVOKE ALL ON FUNCTION agentpay._row_propensity(numeric, numeric, numeric, real)
	FROM PUBLIC;

-- No label is observed in the future, so "by now" needs no condition; one
-- inside NOT EXISTS that asks the clock would keep it from becoming a join.
CREATE VIEW agentpay._labels AS
SELECT o.point, o.row_id, o.label, o.source, o.observed_at
  FROM agentpay.outcomes o
 WHERE NOT EXISTS (
	SELECT FROM agentpay.outcomes l
	 WHERE l.row_id = o.row_id AND l.point IS NOT DISTINCT FROM o.point
	   AND (l.observed_at, l.outcome_id) > (o.observed_at, o.outcome_id));
REVOKE ALL ON agentpay._labels FROM PUBLIC;
COMMENT ON VIEW agentpay._labels IS 'the label of a row as of now: the latest observed_at wins';

-- Two readings of "positive"; a point without a positive verdict has none.
CREATE VIEW agentpay._readings AS
SELECT r.point, r.positive, r.verdict, r.is_positive
  FROM (SELECT v.point, 'positive' AS positive, v.verdict,
			   v.positive AS is_positive,
			   bool_or(v.positive) OVER (PARTITION BY v.point) AS any_positive
		  FROM agentpay.verdicts v
		UNION ALL
		SELECT v.point, 'tightest', v.verdict,
			   coalesce(v.rank = max(v.rank) OVER (PARTITION BY v.point),
						false),
			   bool_or(v.positive) OVER (PARTITION BY v.point)
			   AND max(v.rank) OVER (PARTITION BY v.point) IS NOT NULL
		  FROM agentpay.verdicts v) AS r
 WHERE r.any_positive;
REVOKE ALL ON agentpay._readings FROM PUBLIC;
COMMENT ON VIEW agentpay._readings IS 'which verdicts count as positive: those marked so, or the tightest alone';

-- All that was said about payments, each once; and what no payment says any
-- more.
--
-- Here and below, OFFSET 0 hides from the planner what is grouped: it would
-- take a few columns of two tables for as different as the rows, and sort.
CREATE VIEW agentpay._sayings AS
SELECT a.said, s.*
  FROM (SELECT t.no::text AS said FROM agentpay._said_texts t
		UNION ALL
		SELECT DISTINCT n.said FROM agentpay._new_asked() AS n) AS a
 CROSS JOIN LATERAL agentpay._said(a.said) AS s;
REVOKE ALL ON agentpay._sayings FROM PUBLIC;

-- ── shadow_vs_rules ─────────────────────────────────────────────────────────
CREATE VIEW agentpay.shadow_vs_rules AS
SELECT f.day, f.point, f.agent, f.agent_version, f.compared,
	   f.invoked, f.pairs,
	   agentpay._rate(f.pairs, f.invoked) AS coverage,
	   f.agreed,
	   agentpay._rate(f.agreed, f.pairs) AS agreement,
	   (agentpay._wilson(f.agreed, f.pairs))[1] AS agreement_low,
	   (agentpay._wilson(f.agreed, f.pairs))[2] AS agreement_high,
	   CASE WHEN f.pairs > 0
			THEN agentpay._kappa(f.rules_verdicts, f.agent_verdicts, f.counts)
			END AS kappa,
	   f.tightened, f.loosened, f.failed,
	   agentpay._sum_by(f.reasons, f.reason_counts) AS by_reason
  FROM (
	SELECT c.day, c.point, c.agent, c.agent_version, s.compared,
		   sum(c.n)::bigint AS invoked,
		   coalesce(sum(c.n) FILTER (WHERE c.missing IS NULL), 0)::bigint
			   AS pairs,
		   coalesce(sum(c.n) FILTER (WHERE c.missing IS NULL
				AND s.verdict = c.rules_verdict), 0)::bigint AS agreed,
		   CASE WHEN bool_and(k.ranked) THEN
				coalesce(sum(c.n) FILTER (WHERE c.missing IS NULL
					AND a.rank > r.rank), 0)::bigint END AS tightened,
		   CASE WHEN bool_and(k.ranked) THEN
				coalesce(sum(c.n) FILTER (WHERE c.missing IS NULL
					AND a.rank < r.rank), 0)::bigint END AS loosened,
		   coalesce(sum(c.n) FILTER (WHERE c.missing <> 'open'), 0)::bigint
			   AS failed,
		   array_agg(c.rules_verdict) FILTER (WHERE c.missing IS NULL)
			   AS rules_verdicts,
		   array_agg(s.verdict) FILTER (WHERE c.missing IS NULL)
			   AS agent_verdicts,
		   array_agg(c.n) FILTER (WHERE c.missing IS NULL) AS counts,
		   array_agg(c.missing) AS reasons,
		   array_agg(c.n) AS reason_counts
	  FROM (SELECT a.day, s.point, s.agent, s.agent_version, s.rules_verdict,
				   s.valid_answer AS answer, u.verdict, u.missing,
				   sum(a.n) AS n
			  FROM (SELECT d.said, d.day, count(*) AS n
					  FROM (SELECT a.said, (a.occurred_at AT TIME ZONE
								p.time_zone)::date AS day
							  FROM agentpay._asked a
							  JOIN agentpay.decision_points p
								ON p.point = a.point
							 WHERE a.first_of_version
							   AND a.occurred_at IS NOT NULL OFFSET 0) AS d
					 GROUP BY 1, 2) AS a
			  JOIN agentpay._sayings s ON s.said = a.said
			 CROSS JOIN LATERAL (
				SELECT CASE WHEN s.kind = 'fallback' THEN s.rules_verdict
							ELSE s.verdict END AS verdict,
					   CASE WHEN s.kind IS NULL THEN 'open'
							WHEN s.valid_answer IS NULL
							THEN coalesce(s.failure, 'no_answer') END
						   AS missing) AS u
			 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) AS c
	  JOIN (SELECT v.point, bool_and(v.rank IS NOT NULL) AS ranked
			  FROM agentpay.verdicts v GROUP BY v.point) AS k
		ON k.point = c.point
	 CROSS JOIN LATERAL (VALUES ('answer', c.answer),
								('effective', c.verdict))
		AS s (compared, verdict)
	  LEFT JOIN agentpay.verdicts a
		ON a.point = c.point AND a.verdict = s.verdict
	  LEFT JOIN agentpay.verdicts r
		ON r.point = c.point AND r.verdict = c.rules_verdict
	 GROUP BY c.day, c.point, c.agent, c.agent_version, s.compared) AS f;
REVOKE ALL ON agentpay.shadow_vs_rules FROM PUBLIC;
COMMENT ON VIEW agentpay.shadow_vs_rules IS 'per day: how often each agent would have said what the rules said. Always against the rules verdict, never the final one; the first answer of each row and agent version counts';
COMMENT ON COLUMN agentpay.shadow_vs_rules.day IS 'of the payments'' own time, in the point''s time zone';
COMMENT ON COLUMN agentpay.shadow_vs_rules.compared IS 'answer: what the agent said; effective: what would have counted (too unsure or beyond its authority: the rules verdict)';
COMMENT ON COLUMN agentpay.shadow_vs_rules.invoked IS 'rows that it was asked about: where invoke_when held and the sample took them';
COMMENT ON COLUMN agentpay.shadow_vs_rules.pairs IS 'of these, rows with a valid answer';
COMMENT ON COLUMN agentpay.shadow_vs_rules.coverage IS 'pairs / invoked; failed ones and open tasks make up the rest';
COMMENT ON COLUMN agentpay.shadow_vs_rules.agreement IS 'agreed / pairs';
COMMENT ON COLUMN agentpay.shadow_vs_rules.agreement_low IS '95 % interval of agreement (Wilson 1927), lower end';
COMMENT ON COLUMN agentpay.shadow_vs_rules.agreement_high IS '95 % interval of agreement (Wilson 1927), upper end';
COMMENT ON COLUMN agentpay.shadow_vs_rules.kappa IS 'agreement beyond chance (Cohen 1960): 1 always, 0 as chance; NULL where chance alone would agree always';
COMMENT ON COLUMN agentpay.shadow_vs_rules.tightened IS 'pairs where the agent was stricter than the rules; NULL where verdicts are not ranked';
COMMENT ON COLUMN agentpay.shadow_vs_rules.loosened IS 'pairs where the agent was laxer than the rules; NULL where verdicts are not ranked';
COMMENT ON COLUMN agentpay.shadow_vs_rules.failed IS 'rows whose task ended without a valid answer';
COMMENT ON COLUMN agentpay.shadow_vs_rules.by_reason IS 'invoked - pairs, by failure; open: not answered yet';

-- ── whose label counts ──────────────────────────────────────────────────────
-- Nature labels what was let through, an auditor what was drawn for audit
-- (decisions.assignment); each such row stands for 1 / propensity rows of its
-- stratum, those of which the rules said the same with the same propensity.
-- H. Lakkaraju et al., The selective labels problem, KDD 2017; D. G. Horvitz
-- and D. J. Thompson, JASA 47 (1952) 663-685.
--   A stopped row that was not drawn counts only where nobody else speaks for
-- it: its propensity is 0, or each such row of its stratum has a label, as
-- reviews have that people resolve; every row of that stratum weighs 1 then.
--   A row that should count and has no label is unobservable: it makes the
-- figures unidentifiable, and only bounds are left (C. F. Manski,
-- Nonparametric bounds on treatment effects, American Economic Review 80
-- (1990) 319-323).

-- positive: the verdict that the payment got is marked so.
CREATE FUNCTION agentpay._is_stopped(role text, labels_complete boolean,
	positive boolean, assignment text, propensity real) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT role = 'fraud' AND NOT labels_complete AND assignment <> 'explore'
		   -- audit_sample_percent = 100: it is stopped, with propensity 1
		   AND (propensity < 1
				OR (assignment = 'audit' AND coalesce(positive, false)))
$$;
REVOKE ALL ON FUNCTION agentpay._is_stopped(text, boolean, boolean, text, real)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._is_stopped(text, boolean, boolean, text, real) IS 'no label comes by itself';

CREATE TYPE agentpay._label_use AS (label text, unobservable boolean,
	weight numeric);

-- known: every stopped row of the stratum that was not drawn has a label;
-- NULL: there is no such row.
CREATE FUNCTION agentpay._use_label(stopped boolean, assignment text,
	propensity real, label text, known boolean) RETURNS agentpay._label_use
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN u.counts THEN label END,
		   u.counts AND stopped AND label IS NULL,
		   CASE WHEN propensity > 0 AND known IS NOT TRUE
				THEN 1 / propensity::numeric ELSE 1 END
	  FROM (SELECT NOT stopped OR assignment = 'audit' OR propensity <= 0
				   OR known IS TRUE AS counts) AS u
$$;
REVOKE ALL ON FUNCTION agentpay._use_label(boolean, text, real, text, boolean)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._use_label(boolean, text, real, text, boolean) IS 'the label that counts, whether one is missing, and the weight';

-- ── agent_accuracy ──────────────────────────────────────────────────────────
-- What agents beyond shadow made of payments that were asked about: as
-- _row_effects, by draws, of which few differ.  found: some of their verdicts
-- are the point's.
CREATE FUNCTION agentpay._draw_effect(point text, draws jsonb,
	OUT found boolean, OUT given text, OUT unstopped numeric,
	OUT unpassed numeric, OUT if_stopped numeric)
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(*) > 0,
		   (array_agg(v.verdict ORDER BY d.place)
				FILTER (WHERE (d.draw ->> 1)::boolean))[1],
		   agentpay._product(1 - (d.draw ->> 2)::numeric)
				FILTER (WHERE v.positive),
		   agentpay._product(1 - (d.draw ->> 2)::numeric)
				FILTER (WHERE NOT v.positive),
		   max((d.draw ->> 3)::numeric)
	  FROM jsonb_array_elements(draws) WITH ORDINALITY AS d (draw, place)
	  JOIN agentpay.verdicts v
		ON v.point = $1 AND v.verdict = d.draw ->> 0
$$;
REVOKE ALL ON FUNCTION agentpay._draw_effect(text, jsonb) FROM PUBLIC;

CREATE VIEW agentpay._draw_effects AS
SELECT x.point, x.draws, e.given, e.unstopped, e.unpassed, e.if_stopped
  FROM (SELECT DISTINCT s.point, s.draws FROM agentpay._sayings s
		 WHERE s.draws IS NOT NULL) AS x
 CROSS JOIN LATERAL agentpay._draw_effect(x.point, x.draws) AS e
 WHERE e.found;
REVOKE ALL ON agentpay._draw_effects FROM PUBLIC;

-- Answers whose label is due, by all that was said.  measure: verdict, all of
-- them; or confidence and score, those that have one.
CREATE FUNCTION agentpay._label_groups(cells agentpay._asked_cell[])
	RETURNS TABLE (measure text, said text, mature boolean, point text,
				   agent text, agent_version int, rules_verdict text,
				   answer text, verdict text, role text, label text,
				   unobservable boolean, weight numeric, n numeric)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
SELECT s.measure, s.said, s.mature, s.point, s.agent, s.agent_version,
	   s.rules_verdict, s.answer, s.verdict, s.role, (s.use).label,
	   (s.use).unobservable, (s.use).weight, s.n
  FROM (
	SELECT k.*, agentpay._use_label(k.stopped, k.assignment,
			CASE WHEN k.labels_complete THEN 1 ELSE k.propensity END, k.truth,
			bool_and(k.truth IS NOT NULL)
				FILTER (WHERE k.stopped AND k.assignment <> 'audit')
				OVER (PARTITION BY k.measure, k.point, k.agent,
					  k.agent_version, k.rules_verdict, k.propensity)) AS use
	  FROM (
		SELECT m.measure, c.said, c.mature, s.point, s.agent, s.agent_version,
			   s.rules_verdict, s.valid_answer AS answer,
			   CASE WHEN s.kind = 'fallback' THEN s.rules_verdict
					ELSE s.verdict END AS verdict,
			   s.assignment, c.role, c.labels_complete, m.n, e.propensity,
			   t.stopped,
			   coalesce(s.label, CASE WHEN c.role = 'fraud' AND c.mature
									   AND NOT t.stopped THEN 'legit' END)
				   AS truth
		  FROM (SELECT x.said, x.mature, sum(x.answers) AS n,
					   sum(x.sure) AS sure, sum(x.scored) AS scored
				  FROM unnest(cells) AS x GROUP BY 1, 2) AS a
		 CROSS JOIN LATERAL agentpay._said(a.said) AS s
		  JOIN agentpay.decision_points p ON p.point = s.point
		 CROSS JOIN LATERAL (SELECT a.*, p.role, p.labels_complete) AS c
		 CROSS JOIN LATERAL agentpay._draw_effect(s.point, s.draws) AS d
		 CROSS JOIN LATERAL (VALUES ('verdict', c.n),
				('confidence', c.sure), ('score', c.scored))
			AS m (measure, n)
		 CROSS JOIN LATERAL (
			SELECT coalesce(d.given, s.given) AS given,
				   CASE WHEN d.found IS NOT TRUE THEN s.propensity
						ELSE agentpay._row_propensity(d.unstopped, d.unpassed,
							d.if_stopped, s.propensity) END AS propensity) AS e
		  LEFT JOIN agentpay.verdicts v
			ON v.point = s.point AND v.verdict = e.given
		 -- an agent may stop what the rules let through, or the other way round
		 CROSS JOIN LATERAL (SELECT agentpay._is_stopped(c.role,
				c.labels_complete, v.positive, s.assignment, e.propensity)
			AND coalesce(v.positive, true) AS stopped) AS t
		 WHERE s.kind IS NOT NULL AND m.n > 0
		   AND (c.mature OR c.labels_complete)) AS k) AS s
$$;
REVOKE ALL ON FUNCTION agentpay._label_groups(agentpay._asked_cell[])
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._label_groups(agentpay._asked_cell[]) IS 'answers counted by what was said, where labels are due: as _labelled_groups, which has them of all agents';

CREATE VIEW agentpay._labelled_groups AS
SELECT g.*
  FROM (SELECT ARRAY(SELECT c FROM agentpay._asked_cells(NULL,
							agentpay._now()) AS c) AS cells OFFSET 0) AS a
 CROSS JOIN LATERAL agentpay._label_groups(a.cells) AS g;
REVOKE ALL ON agentpay._labelled_groups FROM PUBLIC;
COMMENT ON VIEW agentpay._labelled_groups IS 'answers counted by what was said, where labels are due';
COMMENT ON COLUMN agentpay._labelled_groups.label IS 'legit: no fraud label at maturity; NULL: not known, or other rows speak for it';
COMMENT ON COLUMN agentpay._labelled_groups.unobservable IS 'stopped, and nobody has labelled it';

CREATE VIEW agentpay._labelled_answers AS
SELECT c.point, c.agent, c.agent_version, c.rules_verdict, c.answer, c.verdict,
	   c.role, c.label, c.unobservable, c.weight, c.n
  FROM agentpay._labelled_groups c WHERE c.measure = 'verdict';
REVOKE ALL ON agentpay._labelled_answers FROM PUBLIC;
COMMENT ON VIEW agentpay._labelled_answers IS 'answers counted by verdicts and label, where labels are due';

-- Σw of each cell of the confusion matrix, and u1, u0: of unobservable rows
-- that were called positive or not.
CREATE VIEW agentpay._confusion AS
SELECT c.point, c.agent, c.agent_version, who.decided_by, said.positive,
	   pop.population,
	   coalesce(sum(c.n) FILTER (WHERE t.truth IS NOT NULL), 0) AS labelled,
	   coalesce(sum(c.n) FILTER (WHERE t.truth), 0) AS positives,
	   coalesce(sum(c.n * c.weight) FILTER (WHERE t.truth IS NOT NULL), 0)
		   AS w1,
	   coalesce(sum(c.n * c.weight * c.weight)
				FILTER (WHERE t.truth IS NOT NULL), 0) AS w2,
	   coalesce(sum(c.n * c.weight)
				FILTER (WHERE said.is_positive AND t.truth), 0) AS tp,
	   coalesce(sum(c.n * c.weight)
				FILTER (WHERE said.is_positive AND NOT t.truth), 0) AS fp,
	   coalesce(sum(c.n * c.weight)
				FILTER (WHERE NOT said.is_positive AND NOT t.truth), 0) AS tn,
	   coalesce(sum(c.n * c.weight)
				FILTER (WHERE NOT said.is_positive AND t.truth), 0) AS fn,
	   coalesce(sum(c.n * c.weight)
				FILTER (WHERE c.unobservable AND said.is_positive), 0) AS u1,
	   coalesce(sum(c.n * c.weight)
				FILTER (WHERE c.unobservable AND NOT said.is_positive), 0)
		   AS u0
  FROM agentpay._labelled_answers c
 CROSS JOIN LATERAL (VALUES ('answered', c.answer), ('operated', c.verdict))
	AS pop (population, agent_verdict)
 CROSS JOIN LATERAL (VALUES ('agent', pop.agent_verdict),
							('rules', c.rules_verdict))
	AS who (decided_by, verdict)
  JOIN agentpay._readings said
	ON said.point = c.point AND said.verdict = who.verdict
  LEFT JOIN agentpay._readings meant
	ON meant.point = c.point AND meant.positive = said.positive
	   AND meant.verdict = c.label
 CROSS JOIN LATERAL (SELECT CASE WHEN c.role = 'fraud' THEN c.label = 'fraud'
								 ELSE meant.is_positive END AS truth) AS t
 WHERE pop.agent_verdict IS NOT NULL
 GROUP BY 1, 2, 3, 4, 5, 6;
REVOKE ALL ON agentpay._confusion FROM PUBLIC;
COMMENT ON VIEW agentpay._confusion IS 'the confusion matrix of each agent, and of the rules on identical rows';

-- Not identifiable: figures NULL, and low and high are the worst cases over
-- all labels that the unobservable rows might have had.  Weighted: an interval
-- would need resampling by subject, so it is NULL.
CREATE VIEW agentpay.agent_accuracy AS
SELECT c.point, c.agent, c.agent_version, c.decided_by, c.positive,
	   c.population, i.identifiable,
	   c.labelled::bigint AS labelled,
	   c.positives::bigint AS positives,
	   round(c.w1 * c.w1 / nullif(c.w2, 0), 1) AS effective_n,
	   CASE WHEN i.identifiable THEN round(c.tp)::bigint END AS tp,
	   CASE WHEN i.identifiable THEN round(c.fp)::bigint END AS fp,
	   CASE WHEN i.identifiable THEN round(c.tn)::bigint END AS tn,
	   CASE WHEN i.identifiable THEN round(c.fn)::bigint END AS fn,
	   CASE WHEN i.identifiable THEN agentpay._rate(c.tp + c.tn, c.w1) END
		   AS accuracy,
	   accuracy.bounds[1] AS accuracy_low,
	   accuracy.bounds[2] AS accuracy_high,
	   CASE WHEN i.identifiable THEN agentpay._rate(c.fp, c.fp + c.tn) END
		   AS fpr,
	   fpr.bounds[1] AS fpr_low,
	   fpr.bounds[2] AS fpr_high,
	   CASE WHEN i.identifiable THEN agentpay._rate(c.fn, c.fn + c.tp) END
		   AS fnr,
	   fnr.bounds[1] AS fnr_low,
	   fnr.bounds[2] AS fnr_high,
	   CASE WHEN i.identifiable THEN agentpay._rate(c.tp, c.tp + c.fp) END
		   AS precision,
	   CASE WHEN i.identifiable THEN agentpay._rate(c.tp, c.tp + c.fn) END
		   AS recall,
	   CASE WHEN i.identifiable
			THEN agentpay._rate(2 * c.tp, 2 * c.tp + c.fp + c.fn) END AS f1
  FROM agentpay._confusion c
 CROSS JOIN LATERAL (SELECT c.u0 + c.u1 = 0 AS identifiable,
							c.w1 = c.labelled AS unweighted) AS i
 CROSS JOIN LATERAL (SELECT CASE
	WHEN NOT i.identifiable THEN ARRAY[
		agentpay._rate(c.tp + c.tn, c.w1 + c.u0 + c.u1),
		agentpay._rate(c.tp + c.tn + c.u0 + c.u1, c.w1 + c.u0 + c.u1)]
	WHEN i.unweighted THEN agentpay._wilson(c.tp + c.tn, c.labelled) END
	AS bounds) AS accuracy
 CROSS JOIN LATERAL (SELECT CASE
	WHEN NOT i.identifiable THEN ARRAY[
		agentpay._rate(c.fp, c.fp + c.tn + c.u0),
		agentpay._rate(c.fp + c.u1, c.fp + c.u1 + c.tn)]
	WHEN i.unweighted THEN agentpay._wilson(c.fp, c.fp + c.tn) END
	AS bounds) AS fpr
 CROSS JOIN LATERAL (SELECT CASE
	WHEN NOT i.identifiable THEN ARRAY[
		agentpay._rate(c.fn, c.fn + c.tp + c.u1),
		agentpay._rate(c.fn + c.u0, c.fn + c.u0 + c.tp)]
	WHEN i.unweighted THEN agentpay._wilson(c.fn, c.fn + c.tp) END
	AS bounds) AS fnr;
REVOKE ALL ON agentpay.agent_accuracy FROM PUBLIC;
COMMENT ON VIEW agentpay.agent_accuracy IS 'how right each agent was, beside the rules on identical rows. Labels as of now; only rows older than the point''s label_maturity, unless its labels are complete; fraud role: no fraud label by then means legit';
COMMENT ON COLUMN agentpay.agent_accuracy.decided_by IS 'agent, or rules: the rules verdicts of the same rows';
COMMENT ON COLUMN agentpay.agent_accuracy.positive IS 'positive: every verdict marked positive counts as a flag; tightest: only the verdict of the highest rank';
COMMENT ON COLUMN agentpay.agent_accuracy.population IS 'answered: rows with a valid answer, by that answer; operated: every finished task, by its effective verdict (a failure counts as its fallback)';
COMMENT ON COLUMN agentpay.agent_accuracy.identifiable IS 'false: rows that should count were stopped, and nobody has labelled them; figures are NULL, and low and high are worst-case bounds (Manski 1990)';
COMMENT ON COLUMN agentpay.agent_accuracy.labelled IS 'rows whose label is known and counts';
COMMENT ON COLUMN agentpay.agent_accuracy.positives IS 'of these, rows that should have been flagged: fraud, or a label that is a positive verdict';
COMMENT ON COLUMN agentpay.agent_accuracy.effective_n IS 'sum(w)^2 / sum(w^2) with weights w = 1 / propensity; labelled when nothing is weighted';
COMMENT ON COLUMN agentpay.agent_accuracy.tp IS 'sum of w of flagged positives, rounded';
COMMENT ON COLUMN agentpay.agent_accuracy.fp IS 'sum of w of flagged negatives, rounded';
COMMENT ON COLUMN agentpay.agent_accuracy.tn IS 'sum of w of negatives let through, rounded';
COMMENT ON COLUMN agentpay.agent_accuracy.fn IS 'sum of w of positives let through, rounded';
COMMENT ON COLUMN agentpay.agent_accuracy.accuracy IS '(tp + tn) / all; flatters whoever flags nothing, where positives are rare';
COMMENT ON COLUMN agentpay.agent_accuracy.accuracy_low IS '95 % interval (Wilson 1927); NULL where rows are weighted; worst case where not identifiable';
COMMENT ON COLUMN agentpay.agent_accuracy.accuracy_high IS 'as accuracy_low, upper end';
COMMENT ON COLUMN agentpay.agent_accuracy.fpr IS 'fp / (fp + tn): good payments that were flagged';
COMMENT ON COLUMN agentpay.agent_accuracy.fpr_low IS 'as accuracy_low';
COMMENT ON COLUMN agentpay.agent_accuracy.fpr_high IS 'as accuracy_low, upper end';
COMMENT ON COLUMN agentpay.agent_accuracy.fnr IS 'fn / (fn + tp): positives that were missed';
COMMENT ON COLUMN agentpay.agent_accuracy.fnr_low IS 'as accuracy_low';
COMMENT ON COLUMN agentpay.agent_accuracy.fnr_high IS 'as accuracy_low, upper end';
COMMENT ON COLUMN agentpay.agent_accuracy.precision IS 'tp / (tp + fp)';
COMMENT ON COLUMN agentpay.agent_accuracy.recall IS 'tp / (tp + fn)';
COMMENT ON COLUMN agentpay.agent_accuracy.f1 IS '2 tp / (2 tp + fp + fn)';

-- ── label_coverage ──────────────────────────────────────────────────────────
CREATE VIEW agentpay.label_coverage AS
SELECT c.point, c.verdict,
	   sum(c.n)::bigint AS payments,
	   coalesce(sum(c.n) FILTER (WHERE c.source IS NOT NULL), 0)::bigint
		   AS labelled,
	   coalesce(sum(c.n) FILTER (WHERE c.mature), 0)::bigint AS mature,
	   agentpay._rate(
		   coalesce(sum(c.n) FILTER (WHERE c.mature AND c.source IS NOT NULL),
					0),
		   sum(c.n) FILTER (WHERE c.mature)) AS share,
	   agentpay._sum_by(array_agg(c.source), array_agg(c.n)) AS sources
  FROM agentpay._label_counts() AS c
 GROUP BY c.point, c.verdict;
REVOKE ALL ON agentpay.label_coverage FROM PUBLIC;
COMMENT ON VIEW agentpay.label_coverage IS 'how many payments have a label, by what was done with them. Nature labels only what was let through, and in the fraud role only frauds: the rest counts as legit at maturity';
COMMENT ON COLUMN agentpay.label_coverage.verdict IS 'what the rules wrote when the payment came';
COMMENT ON COLUMN agentpay.label_coverage.labelled IS 'with a label as of now, mature or not';
COMMENT ON COLUMN agentpay.label_coverage.mature IS 'older than the point''s label_maturity';
COMMENT ON COLUMN agentpay.label_coverage.share IS 'of the mature ones, those with a label';
COMMENT ON COLUMN agentpay.label_coverage.sources IS 'labelled, by the source of the latest label';

-- ── agent_cost ──────────────────────────────────────────────────────────────
CREATE VIEW agentpay.agent_cost AS
SELECT h.hour, h.agent, h.cost_center, h.authority, h.calls, h.failed_calls,
	   h.input_tokens, h.output_tokens, h.cost, h.decisions,
	   round(h.cost / nullif(h.decisions, 0), 9) AS cost_per_decision,
	   agentpay._rate(h.cost, sum(h.cost) OVER (PARTITION BY h.hour)) AS share
  FROM (SELECT c.hour, c.agent, c.cost_center, c.authority,
			   sum(c.calls)::bigint AS calls,
			   sum(c.failed_calls)::bigint AS failed_calls,
			   coalesce(sum(c.input_tokens), 0)::bigint AS input_tokens,
			   coalesce(sum(c.output_tokens), 0)::bigint AS output_tokens,
			   sum(c.cost) AS cost, sum(c.answers)::bigint AS decisions
		  FROM agentpay._hourly_costs() AS c
		 GROUP BY 1, 2, 3, 4) AS h;
REVOKE ALL ON agentpay.agent_cost FROM PUBLIC;
COMMENT ON VIEW agentpay.agent_cost IS 'what agents charged, hour by hour, in USD: failures, retries and repeats included, uncertain calls at their bound until reconcile_hold() says what they cost';
COMMENT ON COLUMN agentpay.agent_cost.hour IS 'in which the call started';
COMMENT ON COLUMN agentpay.agent_cost.authority IS 'live, or shadow: of the decision that the call worked for, of a repeat that of the first answer; shadow while there is none';
COMMENT ON COLUMN agentpay.agent_cost.failed_calls IS 'calls whose status is not ok; they may cost all the same';
COMMENT ON COLUMN agentpay.agent_cost.cost IS 'USD, exact';
COMMENT ON COLUMN agentpay.agent_cost.decisions IS 'valid first answers, in the hour of the call that brought them';
COMMENT ON COLUMN agentpay.agent_cost.cost_per_decision IS 'cost / decisions; NULL where nothing valid came';
COMMENT ON COLUMN agentpay.agent_cost.share IS 'of what all agents charged in that hour';

-- ── cost_per_million ────────────────────────────────────────────────────────
-- A day is the UTC day on which the payment was committed: its calls count
-- there, even when they started after midnight.  What only asks again is an
-- evaluation: invoked counts the rows, once each.
CREATE VIEW agentpay.cost_per_million AS
WITH asked AS (
	SELECT s.point, s.agent,
		   CASE WHEN s.repeat_no > 0 THEN 'evaluation'
				ELSE coalesce(s.authority, 'shadow') END AS authority,
		   a.day, sum(a.n) FILTER (WHERE s.repeat_no <= 1) AS invoked,
		   sum(a.calls) AS calls, sum(a.cost) AS cost
	  FROM (SELECT a.said, a.day, count(*) AS n, sum(a.calls) AS calls,
				   sum(a.cost) AS cost
			  FROM (SELECT a.said, a.calls, a.cost,
						   (a.created_at AT TIME ZONE 'UTC')::date AS day
					  FROM agentpay._asked a OFFSET 0) AS a
			 GROUP BY 1, 2) AS a
	  JOIN agentpay._sayings s ON s.said = a.said
	 GROUP BY 1, 2, 3, 4),
paid AS (SELECT * FROM agentpay._payment_days())
SELECT f.point, f.agent, f.authority, f.payments,
	   agentpay._rate(f.calls, f.invoked) AS calls_per_invocation,
	   round(f.cost / nullif(f.calls, 0), 9) AS cost_per_call,
	   agentpay._rate(f.invoked, f.payments) AS invoked_share,
	   round(f.cost / nullif(f.invoked, 0), 9) AS cost_per_invocation,
	   round(1000000 * f.cost / nullif(f.payments, 0), 6) AS cost_per_million,
	   round(1000000 * f.bounds[1]::numeric, 6) AS cost_per_million_low,
	   round(1000000 * f.bounds[2]::numeric, 6) AS cost_per_million_high
  FROM (SELECT who.point, who.agent, who.authority,
			   sum(p.payments)::bigint AS payments,
			   coalesce(sum(a.invoked), 0) AS invoked,
			   coalesce(sum(a.calls), 0) AS calls,
			   coalesce(sum(a.cost), 0) AS cost,
			   agentpay._bootstrap_ratio(
				   array_agg(coalesce(a.cost, 0)::double precision
							 ORDER BY p.day),
				   array_agg(p.payments::double precision ORDER BY p.day))
				   AS bounds
		  FROM (SELECT DISTINCT point, agent, authority FROM asked) AS who
		  JOIN paid p ON p.point = who.point
		  LEFT JOIN asked a ON a.point = who.point AND a.agent = who.agent
			   AND a.authority = who.authority AND a.day = p.day
		 GROUP BY 1, 2, 3) AS f;
REVOKE ALL ON agentpay.cost_per_million FROM PUBLIC;
COMMENT ON VIEW agentpay.cost_per_million IS 'USD that an agent costs per million committed payments of its point = invoked_share * calls_per_invocation * cost_per_call * 1,000,000';
COMMENT ON COLUMN agentpay.cost_per_million.authority IS 'live, shadow and evaluation apart; evaluation: rows that were asked about again; shadow while a task is open';
COMMENT ON COLUMN agentpay.cost_per_million.payments IS 'all committed payments of the point, asked about or not';
COMMENT ON COLUMN agentpay.cost_per_million.calls_per_invocation IS 'retries and repeats make it more than 1, refusals (budget, kill) less';
COMMENT ON COLUMN agentpay.cost_per_million.cost_per_call IS 'failed calls included';
COMMENT ON COLUMN agentpay.cost_per_million.invoked_share IS 'of the payments, those that the agent was asked about';
COMMENT ON COLUMN agentpay.cost_per_million.cost_per_million_low IS '95 % interval by resampling days (Efron 1979); NULL with fewer than two days';
COMMENT ON COLUMN agentpay.cost_per_million.cost_per_million_high IS 'as cost_per_million_low, upper end';

-- ── current_decisions ───────────────────────────────────────────────────────
-- As agentpay._standing() has it, for all rows at once: no later decision of
-- the same row that counts, by an anti-join, so that one row is found by the
-- index on (point, row_id), and all of them by one hash.
CREATE VIEW agentpay.current_decisions WITH (security_barrier) AS
SELECT d.point, d.row_id, d.decision_id, d.decided_at, d.kind, d.verdict,
	   d.score, d.reasons, d.agent, d.confidence,
	   w.decide_by IS NOT NULL AS pending, w.decide_by
  FROM agentpay.decisions d
  LEFT JOIN (SELECT t.point, t.row_id, max(t.decide_by) AS decide_by
			   FROM agentpay._tasks t
			   JOIN agentpay.decisions r ON r.decision_id = t.decision_id
				AND r.decided_at = t.created_at
			   LEFT JOIN agentpay.agents a ON a.name = t.agent
			  WHERE t.decide_by > (SELECT agentpay._now())
				AND agentpay._is_live(t, a, r)
				AND NOT EXISTS (SELECT FROM agentpay._task_decisions e
								 WHERE e.point = t.point
								   AND e.row_id = t.row_id
								   AND e.agent = t.agent
								   AND e.task_id = t.task_id)
			  GROUP BY t.point, t.row_id) AS w
	ON w.point = d.point AND w.row_id = d.row_id
 WHERE d.authority = 'live' AND d.kind IN ('rules', 'agent', 'human')
   AND d.repeat_no = 0
   AND NOT EXISTS (
	SELECT FROM agentpay.decisions l
	 WHERE l.point = d.point AND l.row_id = d.row_id
	   AND l.authority = 'live' AND l.kind IN ('rules', 'agent', 'human')
	   AND l.repeat_no = 0
	   AND (l.kind = 'human', l.decided_at, l.decision_id)
		   > (d.kind = 'human', d.decided_at, d.decision_id))
   AND (d.point = ANY ((SELECT agentpay._open_points())::text[])
		OR agentpay._sees(d.point, d.row_id));
REVOKE ALL ON agentpay.current_decisions FROM PUBLIC;
COMMENT ON VIEW agentpay.current_decisions IS 'the decision that stands for each row: the latest that counts, a person''s before any agent''s; a fallback leaves standing what stood';
COMMENT ON COLUMN agentpay.current_decisions.kind IS 'who decided: rules, agent or human';
COMMENT ON COLUMN agentpay.current_decisions.pending IS 'an agent that may still replace the verdict is being asked';
COMMENT ON COLUMN agentpay.current_decisions.decide_by IS 'until then, at the latest';
