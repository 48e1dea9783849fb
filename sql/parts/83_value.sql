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

-- ── one payment ─────────────────────────────────────────────────────────────
-- By its first task.  Both arms are looked at apart, so the propensity is that
-- of whoever decided: of a payment that agents alone stopped, that somebody was
-- drawn to look at it.
CREATE VIEW agentpay._value_rows AS
SELECT t.point, t.row_id, t.agent, p.base_currency AS currency, o.week,
	   d.decision_id IS NOT NULL AND o.over AS final,
	   CASE WHEN d.authority = 'live' THEN 'realised' ELSE 'estimated' END
		   AS attributed,
	   CASE WHEN r.assignment = 'explore' THEN NULL
			WHEN d.assignment = 'holdout' THEN 'held out'
			WHEN d.decision_id IS NOT NULL THEN 'treated' END AS arm,
	   r.assignment, o.rules_verdict,
	   d.kind = 'agent' AND d.verdict <> o.rules_verdict AS differs,
	   er.effect AS by_rules, ea.effect AS by_agent, es.effect AS stands,
	   es.effect = 'review' OR s.kind = 'human' AS reviewed,
	   k.stopped, k.through,
	   CASE WHEN p.labels_complete THEN 1
			WHEN k.stopped AND eg.effect = 'pass'
			THEN coalesce(x.if_stopped, 0)
			WHEN k.stopped OR r.assignment = 'explore' THEN r.propensity
			ELSE 1 END::real AS propensity,
	   coalesce(l.label, CASE WHEN NOT k.stopped THEN 'legit' END) AS truth,
	   l.label IS NOT NULL OR (NOT k.stopped AND o.mature) AS labelled,
	   r.base_amount,
	   CASE WHEN k.through AND l.amount_lost IS NOT NULL
			THEN l.amount_lost * r.base_amount / nullif(r.amount, 0)
			ELSE r.base_amount END AS at_stake,
	   coalesce(l.disputed, false) AS disputed,
	   CASE p.base_currency WHEN 'USD' THEN 1 ELSE u.rate END AS usd_rate,
	   coalesce(c.cost, 0) AS cost
  FROM agentpay._tasks t
  JOIN agentpay.decision_points p ON p.point = t.point AND p.role = 'fraud'
  JOIN agentpay.decisions r
	ON r.decision_id = t.decision_id AND r.kind = 'rules'
  LEFT JOIN agentpay._task_decisions d
	ON d.task_id = t.task_id AND d.row_id = t.row_id
	   AND d.agent IS NOT DISTINCT FROM t.agent
  LEFT JOIN agentpay.current_decisions s
	ON s.row_id = t.row_id AND s.point IS NOT DISTINCT FROM t.point
  LEFT JOIN agentpay._row_effects x
	ON x.row_id = t.row_id AND x.point = t.point
  LEFT JOIN agentpay._effects er
	ON er.point = t.point AND er.verdict = coalesce(r.answer, r.verdict)
  LEFT JOIN agentpay._effects ea
	ON ea.point = t.point AND ea.verdict = d.verdict
  LEFT JOIN agentpay._effects es
	ON es.point = t.point AND es.verdict = coalesce(s.verdict, r.verdict)
  LEFT JOIN agentpay._effects eg
	ON eg.point = t.point AND eg.verdict = r.verdict
  LEFT JOIN (
	SELECT n.point, n.row_id, n.label, n.source, n.amount_lost, n.disputed
	  FROM (SELECT e.*, row_number() OVER (PARTITION BY e.point, e.row_id
					ORDER BY e.observed_at DESC, e.outcome_id DESC) AS nth,
				   bool_or(e.source IN ('chargeback', 'representment'))
					OVER (PARTITION BY e.point, e.row_id) AS disputed
			  FROM agentpay.outcomes e) AS n
	 WHERE n.nth = 1) AS l
	ON l.row_id = t.row_id AND l.point IS NOT DISTINCT FROM t.point
  LEFT JOIN (SELECT h.point, h.row_id, h.agent, sum(h.cost) AS cost
			   FROM agentpay._charged_calls h GROUP BY 1, 2, 3) AS c
	ON c.row_id = t.row_id AND c.point IS NOT DISTINCT FROM t.point
	   AND c.agent IS NOT DISTINCT FROM t.agent
 CROSS JOIN LATERAL (
	SELECT z.at::date AS day, date_trunc('week', z.at)::date AS week,
		   coalesce(r.answer, r.verdict) AS rules_verdict,
		   p.labels_complete OR r.occurred_at
			   <= (SELECT agentpay._now()) - p.label_maturity AS mature,
		   p.labels_complete
		   OR ((date_trunc('week', z.at) + interval '7 days')
			   AT TIME ZONE p.time_zone) + p.label_maturity
			  <= (SELECT agentpay._now()) AS over
	  -- a payment may say any time; there is no week of infinity
	  FROM (SELECT least(greatest(r.occurred_at, '0001-01-02 00:00:00+00'),
						 '9999-12-30 00:00:00+00') AT TIME ZONE p.time_zone
				   AS at) AS z) AS o
 CROSS JOIN LATERAL (
	SELECT es.effect <> 'pass' AND NOT p.labels_complete
			   AND r.assignment <> 'explore' AS stopped,
		   es.effect = 'pass' OR coalesce(l.source IN ('chargeback',
				'fraud_report', 'representment'), false) AS through) AS k
  LEFT JOIN (
	SELECT e.base, e.rate, e.valid_from, lead(e.valid_from)
				OVER (PARTITION BY e.base ORDER BY e.valid_from) AS until
	  FROM agentpay.exchange_rates e WHERE e.currency = 'USD') AS u
	ON u.base = p.base_currency AND o.day >= u.valid_from
	   AND (o.day < u.until OR u.until IS NULL)
 WHERE t.repeat_no = 0
   AND NOT EXISTS (
	SELECT FROM agentpay._tasks e
	 WHERE e.repeat_no = 0 AND e.row_id = t.row_id
	   AND e.point IS NOT DISTINCT FROM t.point
	   AND e.agent IS NOT DISTINCT FROM t.agent AND e.task_id < t.task_id);
REVOKE ALL ON agentpay._value_rows FROM PUBLIC;
COMMENT ON VIEW agentpay._value_rows IS 'each payment that an agent of a fraud point was asked about, with what is at stake and what its calls cost';
COMMENT ON COLUMN agentpay._value_rows.final IS 'the task is done, and the labels of the whole week are due';
COMMENT ON COLUMN agentpay._value_rows.arm IS 'held out or treated; NULL: explored, or not known yet';
COMMENT ON COLUMN agentpay._value_rows.through IS 'the payment went through';

-- Each payment in two lines: holdout, and realised or estimated.  gain is what
-- fraud took less, friction what friction cost more: by the agent's verdict
-- than by the rules', or, in basis holdout, than nothing.  Where the label
-- that counts is missing, low and high are the worse and the better of both
-- that it may be.
--   A row for which others speak weighs 0.  Those that speak in basis holdout
-- weigh as many as they speak for: explored rows, which have no arm, are left
-- out there, so that 1 / propensity would be too little.
CREATE VIEW agentpay._value_parts AS
WITH used AS (
	SELECT v.*, b.basis, b.compared,
		   agentpay._use_label(v.stopped, v.assignment, v.propensity, v.truth,
			bool_and(v.truth IS NOT NULL)
				FILTER (WHERE v.stopped AND v.assignment <> 'audit')
				OVER (PARTITION BY b.basis, b.compared, v.week, v.point,
					  v.agent, v.rules_verdict, v.propensity)) AS use
	  FROM agentpay._value_rows v
	 CROSS JOIN LATERAL (VALUES ('holdout', v.arm),
			(v.attributed, CASE WHEN v.differs THEN 'differs' END))
		AS b (basis, compared)),
counted AS (
	SELECT u.*, count(*) OVER w AS alike,
		   count(*) FILTER (WHERE (u.use).label IS NOT NULL
							OR (u.use).unobservable) OVER w AS speaking
	  FROM used u
	WINDOW w AS (PARTITION BY u.basis, u.compared, u.week, u.point, u.agent,
				 u.rules_verdict, u.propensity)),
weighed AS (
	SELECT c.*, (c.use).unobservable OR c.speaking = 0 AS unknown,
		   CASE WHEN c.compared IS NULL THEN 0
				WHEN c.speaking = 0 THEN 1
				WHEN (c.use).label IS NULL AND NOT (c.use).unobservable THEN 0
				WHEN c.basis = 'holdout'
				THEN c.alike::numeric / c.speaking
				ELSE (c.use).weight END AS weight,
		   s.margin * c.base_amount AS margin,
		   CASE s.fee WHEN 0 THEN 0 ELSE s.fee * c.usd_rate END AS fee,
		   CASE s.review WHEN 0 THEN 0 ELSE s.review * c.usd_rate END AS review
	  FROM counted c
	 CROSS JOIN (SELECT
			current_setting('agentpay.false_decline_margin')::numeric / 100,
			current_setting('agentpay.dispute_fee')::numeric,
			current_setting('agentpay.review_cost')::numeric)
		AS s (margin, fee, review))
SELECT w.week, w.point, w.agent, w.basis, w.currency, w.compared, w.weight,
	   w.final, w.labelled, w.cost, w.usd_rate, f.unpriced,
	   f.gain[1] AS gain_low, f.gain[2] AS gain_high,
	   f.friction[1] AS friction_low, f.friction[2] AS friction_high,
	   f.net[1] AS net_low, f.net[2] AS net_high
  FROM weighed w
 CROSS JOIN LATERAL (
	SELECT bool_or(g.gain IS NULL OR g.friction IS NULL) AS unpriced,
		   ARRAY[min(g.gain), max(g.gain)] AS gain,
		   ARRAY[min(g.friction), max(g.friction)] AS friction,
		   ARRAY[min(g.gain - g.friction), max(g.gain - g.friction)] AS net
	  FROM (VALUES (true), (false)) AS y (fraud)
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN y.fraud THEN w.at_stake ELSE 0 END
			   + CASE WHEN CASE WHEN w.through THEN w.disputed
								ELSE y.fraud END
					  THEN w.fee ELSE 0 END AS let_through,
			   CASE WHEN y.fraud THEN 0 ELSE w.margin END AS declined) AS x
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN w.basis = 'holdout'
			THEN CASE WHEN w.through THEN - x.let_through ELSE 0 END
			ELSE CASE w.by_rules WHEN 'pass' THEN x.let_through ELSE 0 END
			   - CASE w.by_agent WHEN 'pass' THEN x.let_through ELSE 0 END
			END AS gain,
			CASE WHEN w.basis = 'holdout'
			THEN CASE WHEN w.reviewed THEN w.review ELSE 0 END
			   + CASE w.stands WHEN 'stop' THEN x.declined ELSE 0 END
			ELSE CASE w.by_agent WHEN 'review' THEN w.review
								 WHEN 'stop' THEN x.declined ELSE 0 END
			   - CASE w.by_rules WHEN 'review' THEN w.review
								 WHEN 'stop' THEN x.declined ELSE 0 END
			END AS friction) AS g
	 WHERE w.weight > 0 AND (w.unknown OR y.fraud = (w.truth = 'fraud')))
	AS f;
REVOKE ALL ON agentpay._value_parts FROM PUBLIC;
COMMENT ON VIEW agentpay._value_parts IS 'what each payment adds to the lines of cost_to_value_weekly';

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
-- Payments are looked at once, for the lines and for the arms.
CREATE VIEW agentpay.cost_to_value_weekly AS
WITH parts AS MATERIALIZED (SELECT * FROM agentpay._value_parts),
lines AS MATERIALIZED (
	SELECT p.week, p.point, p.agent, p.basis, p.currency,
		   CASE WHEN NOT bool_or(p.cost > 0 AND p.usd_rate IS NULL)
				THEN coalesce(sum(p.cost * p.usd_rate) FILTER (WHERE p.cost > 0), 0)
				END AS cost,
		   coalesce(bool_or(p.unpriced), false) AS unpriced,
		   coalesce(bool_and(p.gain_low = p.gain_high
							 AND p.friction_low = p.friction_high)
					FILTER (WHERE p.weight > 0), true) AS known,
		   coalesce(bool_and(p.weight = 1) FILTER (WHERE p.weight > 0), true)
			   AS unweighted,
		   count(*) FILTER (WHERE p.compared IS NOT NULL) AS compared,
		   count(*) FILTER (WHERE p.compared IS NOT NULL AND p.labelled)
			   AS labelled,
		   NOT bool_and(p.final) AS provisional,
		   coalesce(sum(p.weight * greatest(p.gain_low, 0)), 0) AS prevented,
		   coalesce(sum(p.weight * greatest(- p.gain_low, 0)), 0) AS lost,
		   coalesce(sum(p.weight * p.friction_low), 0) AS friction,
		   coalesce(sum(p.weight * p.net_low), 0) AS net_low,
		   coalesce(sum(p.weight * p.net_high), 0) AS net_high
	  FROM parts p
	 GROUP BY 1, 2, 3, 4, 5),
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
				   count(*)::numeric AS rows,
				   (count(*) FILTER (WHERE p.weight > 0))::numeric AS n,
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
			 WHERE p.basis = 'holdout' AND p.compared IS NOT NULL
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
	 WHERE l.basis = 'holdout'
	   -- with nothing live there is nothing to compare
	   AND EXISTS (SELECT FROM lines e
					WHERE e.week = l.week AND e.point = l.point
					  AND e.agent = l.agent AND e.basis = 'realised'))
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
COMMENT ON COLUMN agentpay.cost_to_value_weekly.prevented IS 'fraud losses and dispute fees that the rules would have let through and the agent did not; holdout: the difference of the means × treated payments, if positive';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.lost IS 'the same the other way round';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.false_declines IS 'margin of good payments that were declined and cost of reviews, the agent''s less the rules''; negative where the agent spared more';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.net_value IS 'prevented − lost − false_declines − cost; NULL, as these, where a label that counts is missing or an amount has no rate';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.net_low IS 'holdout: 95 % interval (Welch 1947); where labels are missing, of the worst case. Otherwise the worst case over missing labels; NULL where none is, or rows are weighted';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.net_high IS 'as net_low, upper end and best case';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.labelled_share IS 'of the payments that are compared (realised and estimated: whose verdicts differ), those whose label is on record, or that were let through and are mature';
COMMENT ON COLUMN agentpay.cost_to_value_weekly.provisional IS 'a task is open, or label_maturity has not passed since the end of the week';
