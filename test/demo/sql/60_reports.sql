-- What a fraud team reads after the payments have come in.
\pset border 1
\pset footer off
\pset null '-'

\echo
\echo SHADOW AGAINST RULES (agentpay.shadow_vs_rules)
\echo Of the payments that each agent was asked about, how often it would have said
\echo what the rules said; tightened and loosened: how often it was stricter or laxer.
\echo (The language model is played by a test server that looks at the amount alone: it
\echo is here for its tokens and prices, not for its wisdom.)
SELECT agent, day, invoked, pairs, failed,
	round(100 * agreement, 1) || ' %' AS agreement,
	format('%s to %s', round(100 * agreement_low, 1), round(100 * agreement_high, 1)) AS "95 % interval",
	round(kappa, 3) AS kappa, tightened, loosened
FROM agentpay.shadow_vs_rules
WHERE point = 'fraud' AND compared = 'answer'
ORDER BY agent, day;

\echo ACCURACY (agentpay.agent_accuracy)
\echo Each agent beside the rules on the very same payments, once their labels are
\echo known. Recall: of the frauds, how many were flagged. Precision: of the flagged,
\echo how many were frauds. FPR: of the good payments, how many were flagged.
SELECT agent, CASE decided_by WHEN 'agent' THEN 'the agent' ELSE 'the rules' END AS decided_by,
	labelled AS payments, positives AS frauds,
	round(100 * recall, 1) || ' %' AS recall,
	format('%s to %s', round(100 * (1 - fnr_high), 1), round(100 * (1 - fnr_low), 1)) AS "95 % interval",
	round(100 * precision, 1) || ' %' AS precision,
	round(100 * fpr, 2) || ' %' AS fpr,
	format('%s to %s', round(100 * fpr_low, 2), round(100 * fpr_high, 2)) AS "95 % interval ",
	round(f1, 3) AS f1
FROM agentpay.agent_accuracy
WHERE point = 'fraud' AND positive = 'positive' AND population = 'answered'
ORDER BY agent, decided_by;

\echo COST (agentpay.agent_cost)
\echo What the agents charged, in US dollars, failed calls included. The embedded
\echo model runs inside the database and costs nothing a call.
SELECT agent, cost_center, sum(calls) AS calls, sum(failed_calls) AS failed,
	sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
	round(sum(cost), 6) AS cost, sum(decisions) AS decisions,
	round(sum(cost) / nullif(sum(decisions), 0), 8) AS cost_per_decision
FROM agentpay.agent_cost
GROUP BY agent, cost_center
ORDER BY agent;

\echo WORTH (agentpay.cost_to_value_weekly)
\echo In US dollars, had the agents counted: frauds that they would have stopped and the
\echo rules let through, the other way round, and what good payments would have cost:
\echo margins of those declined, and reviews, beyond what the rules spent on them.
SELECT agent, week, basis, round(cost, 2) AS cost, round(prevented, 2) AS prevented,
	round(lost, 2) AS lost, round(false_declines, 2) AS false_declines,
	round(net_value, 2) AS net_value
FROM agentpay.cost_to_value_weekly
ORDER BY agent, week;

\echo BUDGETS (agentpay.budget_status)
\echo Before a call its highest possible price is held, after it the true one settles:
\echo settled and held together never exceed the cap.
SELECT name, period, cap_cost, settled, held, headroom,
	round(used_percent, 1) || ' %' AS used, calls, cap_calls, state
FROM agentpay.budget_status
WHERE target = 'llm' AND period <> 'transaction'
ORDER BY name;
SELECT b.name, 'each payment' AS period, b.cap_cost, count(*) AS payments,
	max(x.spent) AS most_spent, max(x.held) AS most_held_at_once
FROM agentpay.budgets b
JOIN (SELECT h.budget, h.task_id, sum(h.settled_cost) AS spent,
		max(h.bound_cost) AS held
	FROM agentpay.budget_holds h GROUP BY 1, 2) AS x ON x.budget = b.name
WHERE b.target = 'llm' AND b.period = 'transaction'
GROUP BY b.name, b.cap_cost;

\echo ONE PAYMENT EXPLAINED (agentpay.explain)
\echo A fraud that the rules let through and the embedded model would have stopped, if
\echo there is one: what was known, what each rule said, what each agent answered, what
\echo it cost, and how budgets and switches stood then. (Inputs that no rule reads are
\echo left out here.)
SELECT d.row_id AS payment FROM agentpay.decisions d
JOIN demo.arriving a ON a.id::text = d.row_id
JOIN agentpay.decisions r ON r.point = d.point AND r.row_id = d.row_id
	AND r.kind = 'rules'
LEFT JOIN agentpay.decisions l ON l.point = d.point AND l.row_id = d.row_id
	AND l.agent = 'llm'
WHERE d.point = 'fraud' AND d.agent = 'embedded' AND d.kind = 'agent'
ORDER BY (r.verdict = 'approve' AND d.verdict <> 'approve' AND a.fraud) DESC,
	l.agent IS NULL, d.confidence DESC, a.id
LIMIT 1 \gset
\echo
\pset tuples_only on
\pset format unaligned
SELECT format('%-11s %-27s %s%s',
	CASE WHEN section IS DISTINCT FROM lag(section) OVER (ORDER BY n) THEN section END,
	item, value, '   (' || note || ')')
FROM agentpay.explain('fraud', :'payment')
	WITH ORDINALITY AS e (section, item, value, note, n)
WHERE section <> 'inputs'
	OR item IN ('amount', 'same_amount_10m', 'v4', 'v12', 'v14', 'model(card_fraud)')
ORDER BY n;
\pset tuples_only off
\pset format aligned
