-- 83_value.sql
--		What agents cost and what that was worth, week by week.
--
-- A payment's net loss has two parts: what fraud took (with the fees of
-- disputes), and what friction cost (the margin of good payments that were
-- declined, and the labour of reviews).  A review is taken to end rightly.
--
-- Amounts of money are in the point's base currency at the rate of the
-- payment's day; those that are given in USD are converted in the same way.

-- pass, review or stop: a fraud point's verdict, by what it does to a payment.
CREATE VIEW agentpay._effects AS
SELECT v.point, v.verdict,
	   CASE WHEN NOT v.positive THEN 'pass'
			WHEN v.rank < max(v.rank) FILTER (WHERE v.positive)
				 OVER (PARTITION BY v.point) THEN 'review'
			ELSE 'stop' END AS effect
  FROM agentpay.verdicts v;
REVOKE ALL ON agentpay._effects FROM PUBLIC;

-- ── payments alike ──────────────────────────────────────────────────────────
-- Amounts of a payment that an agent was asked about.
CREATE TYPE agentpay._stake AS (base_amount numeric, lost numeric);

-- array_agg(), where few groups have any: the planner would keep room for more
-- than it may use, and write groups to disk that fit.
CREATE AGGREGATE agentpay._few(anynonarray) (
	SFUNC = pg_catalog.array_agg_transfn, STYPE = internal, SSPACE = 64,
	FINALFUNC = pg_catalog.array_agg_finalfn, FINALFUNC_EXTRA,
	PARALLEL = SAFE);
REVOKE ALL ON FUNCTION agentpay._few(anynonarray) FROM PUBLIC;

-- Payments of fraud points by their first task.  Amounts are at hand of
-- payments that may be compared.  when_due is twice the number of days since a
-- Monday before all others, and one more where labels are due; in dollars, of
-- weeks, since every day has its rate but the dollar's.
CREATE VIEW agentpay._value_asked AS
WITH says AS MATERIALIZED (
	SELECT s.said, s.agent, s.kind, s.verdict, s.rules_verdict, s.drawn_for
	  FROM agentpay._sayings s),
compared AS (
	SELECT s.said FROM says s
	 WHERE (s.kind = 'agent' AND s.verdict <> s.rules_verdict)
		OR s.agent IN (SELECT h.agent FROM says h
						WHERE h.drawn_for = 'holdout'))
SELECT a.said, a.amount, a.base_amount, a.amount_lost,
	   CASE WHEN a.row_cost > 0 THEN a.row_cost END AS cost,
	   c.said IS NOT NULL AS compared,
	   -- a payment may say any time; there is no week of infinity
	   2 * (((least(greatest(a.occurred_at, '0001-01-02 00:00:00+00'),
				'9999-12-30 00:00:00+00') AT TIME ZONE p.time_zone)::date
			 - date '0001-01-03 BC')
			/ CASE p.base_currency WHEN 'USD' THEN 7 ELSE 1 END)
	   + (p.labels_complete OR a.occurred_at
		  <= (SELECT agentpay._now()) - p.label_maturity)::int AS when_due
  FROM agentpay._asked a
  JOIN agentpay.decision_points p ON p.point = a.point AND p.role = 'fraud'
  LEFT JOIN compared c ON c.said = a.said
 WHERE a.first_of_agent AND a.occurred_at IS NOT NULL
OFFSET 0;
REVOKE ALL ON agentpay._value_asked FROM PUBLIC;

-- Counted by all that was said about them and by day, in dollars by week: what
-- has to be asked about each group is asked once.  Both arms are looked at
-- apart, so the propensity is that of whoever decided: of a payment that agents
-- alone stopped, that somebody was drawn to look at it.
CREATE VIEW agentpay._value_groups AS
SELECT s.point, s.agent, p.base_currency AS currency, o.week, g.n, g.cost,
	   g.stakes,
	   s.kind IS NOT NULL AND o.over AS final,
	   CASE WHEN s.authority = 'live' THEN 'realised' ELSE 'estimated' END
		   AS attributed,
	   CASE WHEN s.assignment = 'explore' THEN NULL
			WHEN s.drawn_for = 'holdout' THEN 'held out'
			WHEN s.kind IS NOT NULL THEN 'treated' END AS arm,
	   s.assignment, s.rules_verdict,
	   s.kind = 'agent' AND s.verdict <> s.rules_verdict AS differs,
	   er.effect AS by_rules, ea.effect AS by_agent, es.effect AS stands,
	   es.effect = 'review' OR s.standing_kind = 'human' AS reviewed,
	   k.stopped, k.through,
	   CASE WHEN p.labels_complete THEN 1
			WHEN k.stopped AND eg.effect = 'pass'
			THEN coalesce(x.if_stopped, 0)
			WHEN k.stopped OR s.assignment = 'explore' THEN s.propensity
			ELSE 1 END::real AS propensity,
	   coalesce(s.label, CASE WHEN NOT k.stopped THEN 'legit' END) AS truth,
	   s.label IS NOT NULL OR (NOT k.stopped AND o.mature) AS labelled,
	   s.disputed,
	   CASE p.base_currency WHEN 'USD' THEN 1 ELSE u.rate END AS usd_rate
  FROM (SELECT a.said, a.when_due, count(*) AS n, sum(a.cost) AS cost,
			   agentpay._few(ROW(a.base_amount, CASE
					WHEN a.amount_lost IS NOT NULL THEN a.amount_lost
						* a.base_amount / nullif(a.amount, 0) END)
					::agentpay._stake) FILTER (WHERE a.compared) AS stakes
		  FROM agentpay._value_asked a
		 GROUP BY 1, 2) AS g
  JOIN agentpay._sayings s ON s.said = g.said
  JOIN agentpay.decision_points p ON p.point = s.point
 CROSS JOIN LATERAL (
	SELECT date '0001-01-03 BC'
		   + (g.when_due >> 1)
		   * CASE p.base_currency WHEN 'USD' THEN 7 ELSE 1 END AS day,
		   g.when_due & 1 = 1 AS mature) AS t
  LEFT JOIN agentpay._draw_effects x
	ON x.point = s.point AND x.draws = s.draws
  LEFT JOIN agentpay._effects er
	ON er.point = s.point AND er.verdict = s.rules_verdict
  LEFT JOIN agentpay._effects ea
	ON ea.point = s.point AND ea.verdict = s.verdict
  LEFT JOIN agentpay._effects es
	ON es.point = s.point
	   AND es.verdict = coalesce(s.standing_verdict, s.given)
  LEFT JOIN agentpay._effects eg
	ON eg.point = s.point AND eg.verdict = s.given
 CROSS JOIN LATERAL (
	SELECT date_trunc('week', t.day::timestamp)::date AS week, t.mature,
		   p.labels_complete
		   OR ((date_trunc('week', t.day::timestamp) + interval '7 days')
			   AT TIME ZONE p.time_zone) + p.label_maturity
			  <= (SELECT agentpay._now()) AS over) AS o
 CROSS JOIN LATERAL (
	SELECT es.effect <> 'pass' AND NOT p.labels_complete
			   AND s.assignment <> 'explore' AS stopped,
		   es.effect = 'pass' OR coalesce(s.source IN ('chargeback',
				'fraud_report', 'representment'), false) AS through) AS k
  LEFT JOIN (
	SELECT e.base, e.rate, e.valid_from, lead(e.valid_from)
				OVER (PARTITION BY e.base ORDER BY e.valid_from) AS until
	  FROM agentpay.exchange_rates e WHERE e.currency = 'USD') AS u
	ON u.base = p.base_currency AND t.day >= u.valid_from
	   AND (t.day < u.until OR u.until IS NULL);
REVOKE ALL ON agentpay._value_groups FROM PUBLIC;
COMMENT ON VIEW agentpay._value_groups IS 'payments that agents of fraud points were asked about, alike in all but their amounts, with what their calls cost';
COMMENT ON COLUMN agentpay._value_groups.final IS 'the task is done, and the labels of the whole week are due';
COMMENT ON COLUMN agentpay._value_groups.arm IS 'held out or treated; NULL: explored, or not known yet';
COMMENT ON COLUMN agentpay._value_groups.through IS 'the payment went through';

-- Each group in two lines: holdout, and realised or estimated.  A row for which
-- others speak weighs 0.  Those that speak in basis holdout weigh as many as
-- they speak for: explored rows, which have no arm, are left out there, so that
-- 1 / propensity would be too little.
CREATE VIEW agentpay._value_lines AS
WITH used AS (
	SELECT v.*, b.basis, b.compared,
		   agentpay._use_label(v.stopped, v.assignment, v.propensity, v.truth,
			bool_and(v.truth IS NOT NULL)
				FILTER (WHERE v.stopped AND v.assignment <> 'audit')
				OVER (PARTITION BY b.basis, b.compared, v.week, v.point,
					  v.agent, v.rules_verdict, v.propensity)) AS use
	  FROM agentpay._value_groups v
	 CROSS JOIN LATERAL (VALUES ('holdout', v.arm),
			(v.attributed, CASE WHEN v.differs THEN 'differs' END))
		AS b (basis, compared)),
counted AS (
	SELECT u.*, sum(u.n) OVER w AS alike,
		   coalesce(sum(u.n) FILTER (WHERE (u.use).label IS NOT NULL
							OR (u.use).unobservable) OVER w, 0) AS speaking
	  FROM used u
	WINDOW w AS (PARTITION BY u.basis, u.compared, u.week, u.point, u.agent,
				 u.rules_verdict, u.propensity))
SELECT c.*, (c.use).unobservable OR c.speaking = 0 AS unknown,
	   CASE WHEN c.compared IS NULL THEN 0
			WHEN c.speaking = 0 THEN 1
			WHEN (c.use).label IS NULL AND NOT (c.use).unobservable THEN 0
			WHEN c.basis = 'holdout'
			THEN c.alike::numeric / c.speaking
			ELSE (c.use).weight END AS weight,
	   s.margin,
	   CASE s.fee WHEN 0 THEN 0 ELSE s.fee * c.usd_rate END AS fee,
	   CASE s.review WHEN 0 THEN 0 ELSE s.review * c.usd_rate END AS review
  FROM counted c
 CROSS JOIN (SELECT
		current_setting('agentpay.false_decline_margin')::numeric / 100,
		current_setting('agentpay.dispute_fee')::numeric,
		current_setting('agentpay.review_cost')::numeric)
	AS s (margin, fee, review);
REVOKE ALL ON agentpay._value_lines FROM PUBLIC;

-- ── the difference of two means ─────────────────────────────────────────────
-- The quantile of Student's t is Fisher's expansion (M. Abramowitz and
-- I. A. Stegun, Handbook of Mathematical Functions, 1964, 26.7.5): within
-- 0.2 % from 3 degrees of freedom on.
CREATE FUNCTION agentpay._welch(v1 numeric, n1 numeric, v2 numeric, n2 numeric)
	RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN v1 + v2 = 0 THEN 0
			ELSE sqrt(v1 + v2)
			* (z + (z ^ 3 + z) / (4 * f)
			   + (5 * z ^ 5 + 16 * z ^ 3 + 3 * z) / (96 * f ^ 2)
			   + (3 * z ^ 7 + 19 * z ^ 5 + 17 * z ^ 3 - 15 * z)
				 / (384 * f ^ 3)
			   + (79 * z ^ 9 + 776 * z ^ 7 + 1482 * z ^ 5 - 1920 * z ^ 3
				  - 945 * z) / (92160 * f ^ 4)) END
	  FROM (SELECT 1.959963984540054 AS z,
				   (v1 + v2) ^ 2 / nullif(v1 ^ 2 / nullif(n1 - 1, 0)
										  + v2 ^ 2 / nullif(n2 - 1, 0), 0) AS f
			 WHERE n1 >= 4 AND n2 >= 4) AS d
$$;
REVOKE ALL ON FUNCTION agentpay._welch(numeric, numeric, numeric, numeric)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._welch(numeric, numeric, numeric, numeric) IS 'half of the 95 % interval of the difference of two means of n1 and n2 values whose squared standard errors are v1 and v2 (B. L. Welch, Biometrika 34 (1947) 28-35); NULL with fewer than four';

-- ── cost_to_value_weekly ────────────────────────────────────────────────────
-- Groups are looked at once, for the lines and for the arms.  gain is what
-- fraud took less, friction what friction cost more: by the agent's verdict
-- than by the rules', or, in basis holdout, than nothing.  Where the label
-- that counts is missing, low and high are the worse and the better of both
-- that it may be (fraud_ and good_).
CREATE VIEW agentpay.cost_to_value_weekly AS
WITH groups AS MATERIALIZED (SELECT * FROM agentpay._value_lines),
-- the basis holdout takes both arms, and with nothing live there is nothing to
-- compare
tried AS (
	SELECT g.week, g.point, g.agent
	  FROM groups g
	 GROUP BY 1, 2, 3
	HAVING bool_or(g.basis = 'holdout' AND g.compared = 'held out')
	   AND bool_or(g.basis = 'holdout' AND g.compared = 'treated')
	   AND bool_or(g.basis = 'realised')),
parts AS MATERIALIZED (
	SELECT x.*, least(x.fraud_gain, x.good_gain) AS gain_low,
		   greatest(x.fraud_gain, x.good_gain) AS gain_high,
		   least(x.fraud_friction, x.good_friction) AS friction_low,
		   greatest(x.fraud_friction, x.good_friction) AS friction_high,
		   least(x.fraud_gain - x.fraud_friction,
				 x.good_gain - x.good_friction) AS net_low,
		   greatest(x.fraud_gain - x.fraud_friction,
					x.good_gain - x.good_friction) AS net_high,
		   (x.may_be_fraud AND (x.fraud_gain IS NULL OR x.fraud_friction IS NULL))
		   OR (x.may_be_good AND (x.good_gain IS NULL OR x.good_friction IS NULL))
			   AS unpriced
	  FROM (
		SELECT g.week, g.point, g.agent, g.basis, g.currency, g.compared,
			   g.weight, m.may_be_fraud, m.may_be_good,
			   CASE WHEN NOT m.may_be_fraud THEN NULL
					WHEN g.basis = 'holdout'
					THEN CASE WHEN g.through THEN - t.fraud ELSE 0 END
					ELSE CASE g.by_rules WHEN 'pass' THEN t.fraud ELSE 0 END
					   - CASE g.by_agent WHEN 'pass' THEN t.fraud ELSE 0 END
					END AS fraud_gain,
			   CASE WHEN NOT m.may_be_good THEN NULL
					WHEN g.basis = 'holdout'
					THEN CASE WHEN g.through THEN - t.good ELSE 0 END
					ELSE CASE g.by_rules WHEN 'pass' THEN t.good ELSE 0 END
					   - CASE g.by_agent WHEN 'pass' THEN t.good ELSE 0 END
					END AS good_gain,
			   CASE WHEN NOT m.may_be_fraud THEN NULL
					WHEN g.basis = 'holdout'
					THEN CASE WHEN g.reviewed THEN g.review ELSE 0 END
					ELSE CASE g.by_agent WHEN 'review' THEN g.review ELSE 0 END
					   - CASE g.by_rules WHEN 'review' THEN g.review ELSE 0 END
					END AS fraud_friction,
			   CASE WHEN NOT m.may_be_good THEN NULL
					WHEN g.basis = 'holdout'
					THEN CASE WHEN g.reviewed THEN g.review ELSE 0 END
					   + CASE g.stands WHEN 'stop' THEN t.declined ELSE 0 END
					ELSE CASE g.by_agent WHEN 'review' THEN g.review
										 WHEN 'stop' THEN t.declined ELSE 0 END
					   - CASE g.by_rules WHEN 'review' THEN g.review
										 WHEN 'stop' THEN t.declined ELSE 0 END
					END AS good_friction
		  FROM groups g
		  LEFT JOIN tried r ON r.week = g.week AND r.point = g.point
		   AND r.agent = g.agent
		 CROSS JOIN LATERAL unnest(g.stakes) AS k
		 CROSS JOIN LATERAL (
			SELECT g.unknown OR g.truth = 'fraud' AS may_be_fraud,
				   g.unknown OR g.truth <> 'fraud' AS may_be_good) AS m
		 CROSS JOIN LATERAL (
			SELECT CASE WHEN g.through AND k.lost IS NOT NULL THEN k.lost
						ELSE k.base_amount END
				   + CASE WHEN NOT g.through OR g.disputed THEN g.fee ELSE 0 END
					   AS fraud,
				   CASE WHEN g.through AND g.disputed THEN g.fee ELSE 0 END
					   AS good,
				   g.margin * k.base_amount AS declined) AS t
		 WHERE g.weight > 0 AND (g.basis <> 'holdout' OR r.week IS NOT NULL))
		AS x),
sums AS (
	SELECT p.week, p.point, p.agent, p.basis, p.currency,
		   bool_or(p.unpriced) AS unpriced,
		   bool_and(p.gain_low = p.gain_high
					AND p.friction_low = p.friction_high) AS known,
		   sum(p.weight * greatest(p.gain_low, 0)) AS prevented,
		   sum(p.weight * greatest(- p.gain_low, 0)) AS lost,
		   sum(p.weight * p.friction_low) AS friction,
		   sum(p.weight * p.net_low) AS net_low,
		   sum(p.weight * p.net_high) AS net_high
	  FROM parts p
	 GROUP BY 1, 2, 3, 4, 5),
lines AS MATERIALIZED (
	SELECT g.week, g.point, g.agent, g.basis, g.currency, g.cost,
		   coalesce(s.unpriced, false) AS unpriced,
		   coalesce(s.known, true) AS known, g.unweighted, g.compared,
		   g.labelled, g.provisional, coalesce(s.prevented, 0) AS prevented,
		   coalesce(s.lost, 0) AS lost, coalesce(s.friction, 0) AS friction,
		   coalesce(s.net_low, 0) AS net_low,
		   coalesce(s.net_high, 0) AS net_high
	  FROM (SELECT g.week, g.point, g.agent, g.basis, g.currency,
				   CASE WHEN NOT bool_or(g.cost IS NOT NULL
									 AND g.usd_rate IS NULL)
						THEN coalesce(sum(g.cost * g.usd_rate), 0) END AS cost,
				   coalesce(bool_and(g.weight = 1) FILTER (WHERE g.weight > 0),
							true) AS unweighted,
				   coalesce(sum(g.n) FILTER (WHERE g.compared IS NOT NULL), 0)
					   AS compared,
				   coalesce(sum(g.n) FILTER (WHERE g.compared IS NOT NULL
											 AND g.labelled), 0) AS labelled,
				   NOT bool_and(g.final) AS provisional
			  FROM groups g GROUP BY 1, 2, 3, 4, 5) AS g
	  LEFT JOIN sums s ON s.week = g.week AND s.point = g.point
	   AND s.agent = g.agent AND s.basis = g.basis),
-- Means of the two arms, and the squared standard errors of net: of a weighted
-- mean m of n values, n / (n − 1) × Σ w² (y − m)² / (Σ w)².
arms AS MATERIALIZED (
	SELECT a.week, a.point, a.agent, a.arm, a.rows, a.n, a.gain, a.friction,
		   a.low, a.high,
		   (a.ww_low_2 - 2 * a.low * a.ww_low + a.low ^ 2 * a.ww)
			   / a.w ^ 2 * a.n / nullif(a.n - 1, 0) AS low_var,
		   (a.ww_high_2 - 2 * a.high * a.ww_high + a.high ^ 2 * a.ww)
			   / a.w ^ 2 * a.n / nullif(a.n - 1, 0) AS high_var
	  FROM (SELECT p.week, p.point, p.agent, p.compared AS arm,
				   (SELECT sum(g.n) FROM groups g WHERE g.week = p.week
					   AND g.point = p.point AND g.agent = p.agent
					   AND g.basis = 'holdout' AND g.compared = p.compared)
					   AS rows, count(*)::numeric AS n,
				   sum(p.weight) AS w, sum(p.weight * p.weight) AS ww,
				   sum(p.weight * p.gain_low) / sum(p.weight) AS gain,
				   sum(p.weight * p.friction_low) / sum(p.weight) AS friction,
				   sum(p.weight * p.net_low) / sum(p.weight) AS low,
				   sum(p.weight * p.net_high) / sum(p.weight) AS high,
				   sum(p.weight ^ 2 * p.net_low) AS ww_low,
				   sum(p.weight ^ 2 * p.net_high) AS ww_high,
				   sum(p.weight ^ 2 * p.net_low ^ 2) AS ww_low_2,
				   sum(p.weight ^ 2 * p.net_high ^ 2) AS ww_high_2
			  FROM parts p
			 WHERE p.basis = 'holdout'
			 GROUP BY 1, 2, 3, 4) AS a),
figures AS (
	SELECT l.week, l.point, l.agent, l.basis, l.currency, l.cost, l.prevented,
		   l.lost, l.friction, l.net_low - l.cost AS low,
		   l.net_high - l.cost AS high, 0 AS low_half, 0 AS high_half,
		   l.unpriced, l.known, l.unweighted AND NOT l.known AS bounded,
		   l.labelled, l.compared, l.provisional
	  FROM lines l WHERE l.basis <> 'holdout'
	UNION ALL
	SELECT l.week, l.point, l.agent, l.basis, l.currency, l.cost,
		   greatest(t.rows * (t.gain - h.gain), 0),
		   greatest(t.rows * (h.gain - t.gain), 0),
		   t.rows * (t.friction - h.friction),
		   t.rows * (t.low - h.high) - l.cost,
		   t.rows * (t.high - h.low) - l.cost,
		   t.rows * agentpay._welch(t.low_var, t.n, h.high_var, h.n),
		   t.rows * agentpay._welch(t.high_var, t.n, h.low_var, h.n),
		   l.unpriced, l.known, true, l.labelled, l.compared, l.provisional
	  FROM lines l
	  JOIN arms h ON h.week = l.week AND h.point = l.point
		   AND h.agent = l.agent AND h.arm = 'held out'
	  JOIN arms t ON t.week = l.week AND t.point = l.point
		   AND t.agent = l.agent AND t.arm = 'treated'
	 WHERE l.basis = 'holdout')
SELECT f.week, f.point, f.agent, f.basis, f.currency,
	   round(f.cost, 9) AS cost,
	   CASE WHEN f.known AND NOT f.unpriced THEN round(f.prevented, 2) END
		   AS prevented,
	   CASE WHEN f.known AND NOT f.unpriced THEN round(f.lost, 2) END AS lost,
	   CASE WHEN f.known AND NOT f.unpriced THEN round(f.friction, 2) END
		   AS false_declines,
	   CASE WHEN f.known AND NOT f.unpriced THEN round(f.low, 2) END
		   AS net_value,
	   CASE WHEN f.bounded AND NOT f.unpriced
			THEN round(f.low - f.low_half, 2) END AS net_low,
	   CASE WHEN f.bounded AND NOT f.unpriced
			THEN round(f.high + f.high_half, 2) END AS net_high,
	   agentpay._rate(f.labelled, f.compared) AS labelled_share,
	   f.provisional
  FROM figures f;
REVOKE ALL ON agentpay.cost_to_value_weekly FROM PUBLIC;
COMMENT ON VIEW agentpay.cost_to_value_weekly IS 'what each agent of a fraud point cost and what that was worth, by ISO week of the payments; up to three answers to one question, never to be added up. Labels as of now: a provisional week is restated';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.week IS 'its Monday, in the point''s time zone';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.basis IS 'holdout: the control group beside the rest, the headline; realised: live, where the verdict is not the rules''; estimated: the same in shadow, had it counted';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.currency IS 'the point''s base_currency, of all amounts';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.cost IS 'charged for the payments of the line, also where the verdict was the rules'', repeats included; NULL where a rate of USD is missing';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.prevented IS 'fraud losses and dispute fees that the rules would have let through and the agent did not; holdout: the difference of the means * treated payments, if positive';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.lost IS 'the same the other way round';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.false_declines IS 'margin of good payments that were declined and cost of reviews, the agent''s less the rules''; negative where the agent spared more';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.net_value IS 'prevented - lost - false_declines - cost; NULL, as these, where a label that counts is missing or an amount has no rate';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.net_low IS 'holdout: 95 % interval (Welch 1947); where labels are missing, of the worst case. Otherwise the worst case over missing labels; NULL where none is, or rows are weighted';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.net_high IS 'as net_low, upper end and best case';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.labelled_share IS 'of the payments that are compared (realised and estimated: whose verdicts differ), those whose label is on record, or that were let through and are mature';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.provisional IS 'a task is open, or label_maturity has not passed since the end of the week';
