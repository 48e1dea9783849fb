-- 87_report.sql
--		report_html(): one page for whoever pays for the agents and whoever
--		answers for them.
--
-- The page is XHTML, whole in itself: no script, no address, charts as SVG.
-- Every text that comes from rows goes through _html(); helpers take jsonb
-- arrays of rows, and NULL where there is nothing to show.

CREATE FUNCTION agentpay._html(content text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	-- XML has no characters below the blank but tab and the ends of lines
	SELECT regexp_replace(replace(replace(replace(replace(replace(content,
		'&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'),
		'''', '&#39;'), E'[\\u0001-\\u0008\\u000B\\u000C\\u000E-\\u001F\\uFFFE\\uFFFF]',
		'?', 'g')
$$;
REVOKE ALL ON FUNCTION agentpay._html(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._html(text) IS 'as text or as an attribute''s value in a page';

CREATE FUNCTION agentpay._report_none() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT '<p class="none">Nothing to show.</p>' $$;
REVOKE ALL ON FUNCTION agentpay._report_none() FROM PUBLIC;

CREATE FUNCTION agentpay._report_table(headers text[], rows jsonb)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN rows IS NULL THEN agentpay._report_none()
		ELSE '<table><thead><tr>'
			|| (SELECT string_agg('<th>' || agentpay._html(h) || '</th>', ''
								  ORDER BY o)
				  FROM unnest(headers) WITH ORDINALITY AS u (h, o))
			|| '</tr></thead><tbody>'
			|| (SELECT string_agg('<tr>' || (
					SELECT string_agg(format('<td%s>%s</td>',
							-- numbers to the right; the class is by our own words
							CASE WHEN c ~ '^-?[0-9][0-9.,]*( %| USD)?$'
								 THEN ' class="n"'
								 WHEN c IN ('pass', 'fail', 'hold', 'exhausted', 'alert')
								 THEN format(' class="%s"', c) ELSE '' END,
							coalesce(agentpay._html(c), '&#8211;')), '' ORDER BY i)
					  FROM jsonb_array_elements_text(r) WITH ORDINALITY
						   AS x (c, i)) || '</tr>', '' ORDER BY o)
				  FROM jsonb_array_elements(rows) WITH ORDINALITY AS t (r, o))
			|| '</tbody></table>' END
$$;
REVOKE ALL ON FUNCTION agentpay._report_table(text[], jsonb) FROM PUBLIC;

-- [label, value, what is written at its end] a bar; the longest is most.
CREATE FUNCTION agentpay._report_bars(title text, rows jsonb,
	most numeric DEFAULT NULL) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH bars AS (
		SELECT b ->> 0 AS label, greatest((b ->> 1)::numeric, 0) AS value,
			   b ->> 2 AS note, o - 1 AS at
		  FROM jsonb_array_elements(rows) WITH ORDINALITY AS t (b, o)),
	scale AS (
		SELECT greatest(coalesce(most, max(b.value)), 0.000000001) AS most,
			   count(*) AS n FROM bars b)
	SELECT CASE WHEN rows IS NULL THEN '' ELSE format(
		'<svg viewBox="0 0 760 %s" role="img" aria-label="%s"><title>%s</title>',
			24 * s.n + 8, agentpay._html(title), agentpay._html(title))
		|| (SELECT string_agg(format(
				'<text x="210" y="%s" text-anchor="end">%s</text><rect class="bar" x="220" y="%s" width="%s" height="14"/><text x="%s" y="%s">%s</text>',
				24 * b.at + 18, agentpay._html(left(b.label, 32)),
				24 * b.at + 7, w.width, w.width + 228, 24 * b.at + 18,
				agentpay._html(b.note)), '' ORDER BY b.at)
			  FROM bars b CROSS JOIN LATERAL (SELECT round(380
				* least(b.value / s.most, 1), 1) AS width) AS w)
		|| '</svg>' END
	  FROM scale s
$$;
REVOKE ALL ON FUNCTION agentpay._report_bars(text, jsonb, numeric) FROM PUBLIC;

-- [label, value, low, high] a share of 0 to 1 with its interval.
CREATE FUNCTION agentpay._report_intervals(title text, rows jsonb)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH points AS (
		SELECT p ->> 0 AS label, (p ->> 1)::numeric AS value,
			   coalesce((p ->> 2)::numeric, (p ->> 1)::numeric) AS low,
			   coalesce((p ->> 3)::numeric, (p ->> 1)::numeric) AS high,
			   o - 1 AS at
		  FROM jsonb_array_elements(rows) WITH ORDINALITY AS t (p, o))
	SELECT CASE WHEN rows IS NULL THEN '' ELSE format(
		'<svg viewBox="0 0 780 %s" role="img" aria-label="%s"><title>%s</title>',
			24 * (SELECT count(*) FROM points) + 28, agentpay._html(title),
			agentpay._html(title))
		|| (SELECT string_agg(format(
				'<line class="grid" x1="%1$s" y1="0" x2="%1$s" y2="%2$s"/><text x="%1$s" y="%3$s" text-anchor="middle">%4$s %%</text>',
				220 + 95 * t, 24 * (SELECT count(*) FROM points) + 6,
				24 * (SELECT count(*) FROM points) + 22, 25 * t), '')
			  FROM generate_series(0, 4) AS t)
		|| (SELECT string_agg(format(
				'<text x="210" y="%1$s" text-anchor="end">%2$s</text><line class="range" x1="%3$s" y1="%4$s" x2="%5$s" y2="%4$s"/><circle class="dot" cx="%6$s" cy="%4$s" r="4"/><text x="612" y="%1$s">%7$s</text>',
				24 * p.at + 18, agentpay._html(left(p.label, 32)),
				round(220 + 380 * p.low, 1), 24 * p.at + 14,
				round(220 + 380 * p.high, 1), round(220 + 380 * p.value, 1),
				format('%s %% (%s to %s)', round(100 * p.value, 1),
					   round(100 * p.low, 1), round(100 * p.high, 1))), ''
				ORDER BY p.at) FROM points p)
		|| '</svg>' END
$$;
REVOKE ALL ON FUNCTION agentpay._report_intervals(text, jsonb) FROM PUBLIC;

-- [said, observed, how many] of 0 to 1: what would be right lies on the diagonal.
CREATE FUNCTION agentpay._report_scatter(title text, rows jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN rows IS NULL THEN '' ELSE format(
		'<svg class="small" viewBox="0 0 280 280" role="img" aria-label="%1$s"><title>%1$s</title><rect class="frame" x="30" y="10" width="240" height="240"/><line class="grid" x1="30" y1="250" x2="270" y2="10"/><text x="150" y="272" text-anchor="middle">said</text><text x="14" y="130" text-anchor="middle" transform="rotate(-90 14 130)">turned out</text>',
			agentpay._html(title))
		|| (SELECT string_agg(format('<circle class="dot" cx="%s" cy="%s" r="4"/>',
				round(30 + 240 * least(greatest((p ->> 0)::numeric, 0), 1), 1),
				round(250 - 240 * least(greatest((p ->> 1)::numeric, 0), 1), 1)),
				'' ORDER BY o)
			  FROM jsonb_array_elements(rows) WITH ORDINALITY AS t (p, o))
		|| '</svg>' END
$$;
REVOKE ALL ON FUNCTION agentpay._report_scatter(text, jsonb) FROM PUBLIC;

-- ── the sections ────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._usd(cost numeric) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT trim_scale(round(cost, CASE WHEN abs(cost) >= 1 THEN 2 ELSE 6 END))
			 || ' USD' $$;
REVOKE ALL ON FUNCTION agentpay._usd(numeric) FROM PUBLIC;

CREATE FUNCTION agentpay._percent(share numeric) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT round(100 * share, 1) || ' %' $$;
REVOKE ALL ON FUNCTION agentpay._percent(numeric) FROM PUBLIC;

-- Each report is read once, since it may take a second; spent: the cost of the
-- whole span.
CREATE FUNCTION agentpay._report_money(since timestamptz, until timestamptz,
	OUT spent numeric, OUT html text)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH cost AS MATERIALIZED (
		SELECT * FROM agentpay.agent_cost c
		 WHERE c.hour >= date_trunc('hour', since) AND c.hour < until),
	leak AS MATERIALIZED (
		SELECT o.agent, o.cause, o.cost,
			   o.cause NOT IN ('evidence', 'evaluation', 'live') AS leaks
		  FROM agentpay.opex_leak o
		 WHERE o.day >= (since AT TIME ZONE 'UTC')::date
		   AND o.day <= (until AT TIME ZONE 'UTC')::date)
	SELECT coalesce((SELECT sum(c.cost) FROM cost c), 0),
		'<section id="cost"><h2>Cost</h2>'
		|| agentpay._report_bars('Cost per day, USD', (
			SELECT jsonb_agg(jsonb_build_array(d.day, d.cost,
					agentpay._usd(d.cost)) ORDER BY d.day)
			  FROM (SELECT (c.hour AT TIME ZONE 'UTC')::date AS day,
						   sum(c.cost) AS cost FROM cost c GROUP BY 1) AS d))
		|| agentpay._report_table('{agent,"cost center",calls,failed,cost,decisions,"per decision"}', (
			SELECT jsonb_agg(jsonb_build_array(s.agent, s.cost_center,
					s.calls::text, s.failed::text, agentpay._usd(s.cost),
					s.decisions::text,
					agentpay._usd(s.cost / nullif(s.decisions, 0)))
				ORDER BY s.cost DESC, s.agent, s.cost_center)
			  FROM (SELECT c.agent, c.cost_center, sum(c.calls) AS calls,
						   sum(c.failed_calls) AS failed, sum(c.cost) AS cost,
						   sum(c.decisions) AS decisions
					  FROM cost c GROUP BY 1, 2) AS s))
		|| '</section><section id="per-million"><h2>Cost per million payments</h2><p>Over all that is recorded, with its 95 % interval by days.</p>'
		|| agentpay._report_table('{point,agent,authority,payments,asked,"per million",low,high}', (
			SELECT jsonb_agg(jsonb_build_array(m.point, m.agent, m.authority,
					m.payments::text, agentpay._percent(m.invoked_share),
					agentpay._usd(m.cost_per_million),
					agentpay._usd(m.cost_per_million_low),
					agentpay._usd(m.cost_per_million_high))
				ORDER BY m.point, m.agent, m.authority)
			  FROM agentpay.cost_per_million m))
		|| '</section><section id="budgets"><h2>Budgets now</h2>'
		|| agentpay._report_bars('Used, percent of the cap', (
			SELECT jsonb_agg(jsonb_build_array(b.name, b.used_percent,
					b.used_percent || ' %') ORDER BY b.used_percent DESC, b.name)
			  FROM agentpay.budget_status b WHERE b.used_percent IS NOT NULL),
			100)
		|| agentpay._report_table('{budget,for,per,cap,settled,held,uncertain,state}', (
			SELECT jsonb_agg(jsonb_build_array(b.name,
					concat_ws(' ', b.scope, nullif(b.target, '*')), b.period,
					agentpay._usd(b.cap_cost), agentpay._usd(b.settled),
					agentpay._usd(b.held), agentpay._usd(b.uncertain), b.state)
				ORDER BY b.name)
			  FROM agentpay.budget_status b))
		|| '</section><section id="leak"><h2>Charged without a use</h2>'
		|| agentpay._report_bars('Cost by cause, USD', (
			SELECT jsonb_agg(jsonb_build_array(l.cause, l.cost,
					agentpay._usd(l.cost)) ORDER BY l.cost DESC, l.cause)
			  FROM (SELECT o.cause, sum(o.cost) AS cost
					  FROM leak o WHERE o.leaks GROUP BY 1) AS l))
		|| agentpay._report_table('{agent,charged,leak,"loss index"}', (
			SELECT jsonb_agg(jsonb_build_array(l.agent, agentpay._usd(l.cost),
					agentpay._usd(l.leak),
					agentpay._rate(l.leak, l.cost)::text) ORDER BY l.leak DESC, l.agent)
			  FROM (SELECT o.agent, sum(o.cost) AS cost,
						   coalesce(sum(o.cost) FILTER (WHERE o.leaks), 0)
							   AS leak
					  FROM leak o GROUP BY 1) AS l))
		|| '</section>'
$$;
REVOKE ALL ON FUNCTION agentpay._report_money(timestamptz, timestamptz)
	FROM PUBLIC;

CREATE FUNCTION agentpay._report_quality(since timestamptz,
	until timestamptz) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH accuracy AS MATERIALIZED (
		SELECT * FROM agentpay.agent_accuracy a
		 WHERE a.positive = 'positive' AND a.population = 'operated')
	SELECT '<section id="agreement"><h2>Agreement with the rules</h2><p>Of valid answers, with Wilson''s 95 % interval.</p>'
		|| coalesce(nullif(agentpay._report_intervals('Agreement', (
			SELECT jsonb_agg(jsonb_build_array(a.who, agentpay._rate(a.k, a.n),
					a.w[1], a.w[2]) ORDER BY a.who)
			  FROM (SELECT format('%s, version %s', v.agent, v.agent_version)
						   AS who, sum(v.agreed) AS k, sum(v.pairs) AS n,
						   agentpay._wilson(sum(v.agreed), sum(v.pairs)) AS w
					  FROM agentpay.shadow_vs_rules v
					 WHERE v.compared = 'answer' AND v.pairs > 0
					   AND v.day >= (since AT TIME ZONE 'UTC')::date
					   AND v.day <= (until AT TIME ZONE 'UTC')::date
					 GROUP BY 1) AS a)), ''), agentpay._report_none())
		|| '</section><section id="accuracy"><h2>Accuracy</h2><p>As operated (a failure counts as its fallback), on all labels that are old enough, beside the rules on the same payments. Where it cannot be told, it is not shown.</p>'
		|| agentpay._report_intervals('Accuracy', (
			SELECT jsonb_agg(jsonb_build_array(format('%s %s, %s', a.agent,
					a.agent_version, a.decided_by), a.accuracy, a.accuracy_low,
					a.accuracy_high) ORDER BY a.agent, a.agent_version, a.decided_by)
			  FROM accuracy a WHERE a.accuracy IS NOT NULL))
		|| agentpay._report_table('{point,agent,version,"decided by",labelled,positives,accuracy,fpr,fnr,precision,recall}', (
			SELECT jsonb_agg(jsonb_build_array(a.point, a.agent,
					a.agent_version::text, a.decided_by, a.labelled::text,
					a.positives::text, agentpay._percent(a.accuracy),
					agentpay._percent(a.fpr), agentpay._percent(a.fnr),
					agentpay._percent(a.precision), agentpay._percent(a.recall))
				ORDER BY a.point, a.agent, a.agent_version, a.decided_by)
			  FROM accuracy a))
		|| '</section><section id="calibration"><h2>Calibration</h2>'
		|| coalesce((SELECT string_agg(format('<figure>%s<figcaption>%s</figcaption></figure>',
				agentpay._report_scatter('Calibration of ' || k.who, k.bins),
				agentpay._html(k.who)), '' ORDER BY k.who)
			  FROM (SELECT format('%s, version %s, %s', c.agent, c.agent_version,
								  c.measure) AS who,
						   jsonb_agg(jsonb_build_array(c.mean_confidence,
								c.observed_rate, c.labelled) ORDER BY c.bin)
							   AS bins
					  FROM agentpay.calibration c
					 WHERE c.mean_confidence IS NOT NULL
					   AND c.observed_rate IS NOT NULL
					 GROUP BY 1) AS k), agentpay._report_none())
		|| '</section>'
$$;
REVOKE ALL ON FUNCTION agentpay._report_quality(timestamptz, timestamptz)
	FROM PUBLIC;

CREATE FUNCTION agentpay._report_control(since timestamptz,
	until timestamptz) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH checks AS MATERIALIZED (SELECT * FROM agentpay._check_controls())
	SELECT '<section id="rollout"><h2>Rollout and gates</h2>'
		|| agentpay._report_table('{agent,version,stage,next,enabled}', (
			SELECT jsonb_agg(jsonb_build_array(a.name,
					agentpay._agent_version(a.name)::text, a.stage,
					agentpay._next_stage(a), CASE WHEN agentpay._killed(p.role,
						p.point, a.name) THEN 'kill switch engaged'
					WHEN a.enabled THEN 'yes' ELSE 'no' END) ORDER BY a.name)
			  FROM agentpay.agents a
			  JOIN agentpay.decision_points p ON p.point = a.point))
		|| agentpay._report_table('{agent,kind,metric,"",bound,value,samples,state}', (
			SELECT jsonb_agg(jsonb_build_array(r.agent, r.kind, r.metric,
					r.direction, trim_scale(r.bound)::text,
					trim_scale(r.value)::text, r.samples::text, r.state)
				ORDER BY r.agent, r.kind, r.metric)
			  FROM agentpay.rollout_status r))
		|| '</section><section id="escalations"><h2>Escalations</h2>'
		|| agentpay._report_table('{day,point,agent,cause,opened,closed,open,overdue,"to a person (median)"}', (
			SELECT jsonb_agg(jsonb_build_array(e.day::text, e.point, e.agent,
					e.cause, e.opened::text, e.closed::text, e.open::text,
					e.overdue::text, date_trunc('second', e.to_human_median)::text)
				ORDER BY e.day, e.point, e.agent, e.cause)
			  FROM agentpay.escalations e
			 WHERE e.day >= (since AT TIME ZONE 'UTC')::date
			   AND e.day <= (until AT TIME ZONE 'UTC')::date))
		|| '</section><section id="compliance"><h2>Compliance</h2><p>What can be told from inside the database. Evidence, not certification.</p>'
		|| agentpay._report_bars('Controls by state', (
			SELECT jsonb_agg(jsonb_build_array(s.state, s.n, s.n::text)
				ORDER BY s.state)
			  FROM (SELECT c.state, count(*) AS n FROM checks c GROUP BY 1) AS s))
		|| agentpay._report_table('{framework,control,meaning,state,figure}', (
			SELECT jsonb_agg(jsonb_build_array(c.framework, c.control,
					c.meaning, c.state, c.figure)
				ORDER BY array_position('{fail,not_checkable,pass,not_applicable}',
										c.state), c.framework, c.control)
			  FROM checks c))
		|| '</section>'
$$;
REVOKE ALL ON FUNCTION agentpay._report_control(timestamptz, timestamptz)
	FROM PUBLIC;

-- Payments decided from since until until: whole days (UTC) from their counts,
-- what is at both ends from the log, by the ids of its day.
CREATE FUNCTION agentpay._payments_between(since timestamptz,
	until timestamptz) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ends constant date[] := ARRAY[(since AT TIME ZONE 'UTC')::date,
								  (until AT TIME ZONE 'UTC')::date];
	total bigint := 0;
	n bigint;
	c record;
BEGIN
	FOR c IN SELECT CASE WHEN x.day = ANY (ends) THEN x.day END AS at_end,
					sum(x.n) AS n,
					agentpay._lowest_uuid(x.first_id) AS lo,
					agentpay._highest_uuid(x.last_id) AS hi
			   FROM agentpay._payment_cells() AS x
			  WHERE x.day BETWEEN ends[1] AND ends[2]
			  GROUP BY 1 LOOP
		n := c.n;
		IF c.at_end IS NOT NULL THEN
			EXECUTE format('SELECT count(*) FROM agentpay.decisions d'
				' WHERE d.kind = ''rules'' AND d.decision_id BETWEEN %L AND %L'
				' AND d.decided_at >= %L AND d.decided_at < %L'
				' AND (d.decided_at AT TIME ZONE ''UTC'')::date = %L',
				c.lo, c.hi, since, until, c.at_end) INTO n;
		END IF;
		total := total + n;
	END LOOP;
	RETURN total;
END$$;
REVOKE ALL ON FUNCTION agentpay._payments_between(timestamptz, timestamptz)
	FROM PUBLIC;

CREATE FUNCTION agentpay.report_html(since timestamptz DEFAULT NULL,
	until timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off
AS $$
DECLARE
	ends timestamptz := coalesce(until, agentpay._now());
	begins timestamptz := coalesce(since, ends - interval '7 days');
	money record;
	payments bigint;
BEGIN
	IF NOT isfinite(begins) OR NOT isfinite(ends) OR begins >= ends THEN
		PERFORM agentpay._refuse('22023', format(
				'a report cannot be from %s until %s', begins, ends),
			'since is before until, and both are finite.',
			'SELECT agentpay.report_html(since => now() - interval ''30 days'');');
	END IF;
	money := agentpay._report_money(begins, ends);
	payments := agentpay._payments_between(begins, ends);
	RETURN '<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta charset="utf-8"/>'
		|| '<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;"/>'
		|| '<meta name="viewport" content="width=device-width, initial-scale=1"/><title>agentpay</title><style>'
		|| 'body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}h1{margin-bottom:0}h2{border-bottom:1px solid #d0d7de;padding-bottom:.2rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%;margin:.8rem 0;font-size:13px}th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #eaeef2;overflow-wrap:anywhere}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.pass{color:#116329}td.fail,td.exhausted{color:#a40e26;font-weight:600}td.hold,td.alert{color:#7d4e00}svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg.small{max-width:20rem}.bar{fill:#3b6ea8}.dot{fill:#1f4e79}.range{stroke:#3b6ea8;stroke-width:3}.grid{stroke:#d0d7de}.frame{fill:none;stroke:#d0d7de}.none{color:#57606a}.head{font-size:1.3rem}figure{display:inline-block;margin:.5rem 1rem .5rem 0}@media print{body{margin:0}}'
		|| '</style></head><body><h1>agentpay</h1>'
		|| format('<p>%s, %s until %s (UTC)</p>',
			agentpay._html(current_database()),
			to_char(begins, 'YYYY-MM-DD HH24:MI'),
			to_char(ends, 'YYYY-MM-DD HH24:MI'))
		|| format('<p class="head">%s for %s payments%s</p>',
			agentpay._usd(money.spent), payments, coalesce(': '
				|| agentpay._usd(1000000 * money.spent / nullif(payments, 0))
				|| ' per million', ''))
		|| money.html
		|| agentpay._report_quality(begins, ends)
		|| agentpay._report_control(begins, ends)
		|| '</body></html>';
END$$;
REVOKE ALL ON FUNCTION agentpay.report_html(timestamptz, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.report_html(timestamptz, timestamptz) IS 'one self-contained page: cost, budgets, leak, agreement, accuracy, calibration, rollout, escalations, compliance; since: a week before until, until: now';
