-- Whether an arm did the work that it was timed for; nothing, or an error.
-- Variables: decisions (a table, or none), payments (their number), sampled
-- (whether pgbench made them, so that bench.input does not know them), ours.

SELECT :'decisions' <> '' AS has_decisions \gset

CREATE FUNCTION bench.must(what text, counted bigint, wanted bigint)
	RETURNS void
	LANGUAGE plpgsql
AS $$
BEGIN
	IF counted IS DISTINCT FROM wanted THEN
		RAISE EXCEPTION '%: %, not %', what, counted, wanted;
	END IF;
END$$;

SELECT bench.must('payments', count(*), :payments) FROM public.payments;

\if :has_decisions
SELECT bench.must('decisions', count(*), :payments) FROM :decisions;
SELECT bench.must('payments that have a decision', count(*), :payments)
  FROM public.payments p JOIN :decisions d ON d.row_id = p.payment_id::text
 WHERE d.point = 'fraud' AND d.kind = 'rules' AND d.authority = 'live'
   AND d.verdict = p.outcome AND d.score = p.risk_score
   AND d.reasons = p.reasons AND d.amount = p.amount
   AND d.occurred_at = p.created_at AND d.currency = p.currency
   AND d.inputs @> jsonb_build_object('amount', p.amount,
		'card_age_days', p.card_age_days, 'card_country', p.card_country,
		'country', p.country, 'created_at', p.created_at);

\if :sampled
\if :ours
-- what a row of four concurrent clients should have seen depends on their
-- order: only that the verdict follows from what it saw
SELECT bench.must('payments with the verdict of what was seen', count(*),
				  :payments)
  FROM public.payments p JOIN :decisions d
	   ON d.row_id = p.payment_id::text,
	   jsonb_to_record(d.inputs) AS f (card_count_1d float8,
		card_sum_7d float8, card_avg_30d float8, terminal_count_1d float8,
		terminal_sum_7d float8, terminal_avg_30d float8),
	   bench.reference(p.amount, p.created_at, p.country, p.card_country,
		p.card_age_days, f.card_count_1d, f.card_sum_7d, f.card_avg_30d,
		f.terminal_count_1d, f.terminal_sum_7d, f.terminal_avg_30d) r
 WHERE p.outcome = r.verdict AND p.risk_score = r.score
   AND p.reasons = r.reasons AND f.card_count_1d >= 1
   AND f.card_sum_7d >= p.amount AND f.card_avg_30d > 0
   AND f.terminal_count_1d >= 1 AND f.terminal_sum_7d >= p.amount
   AND f.terminal_avg_30d > 0;
\endif
\else
SELECT bench.must('payments with the expected verdict', count(*), :payments)
  FROM public.payments p JOIN bench.input e USING (payment_id)
 WHERE p.outcome = e.verdict AND p.risk_score = e.score
   AND (SELECT array_agg(r ORDER BY r COLLATE "C") FROM unnest(p.reasons) r)
	   IS NOT DISTINCT FROM
	   (SELECT array_agg(r ORDER BY r COLLATE "C") FROM unnest(e.reasons) r);
SELECT bench.must('decisions with the expected windows', count(*), :payments)
  FROM :decisions d JOIN bench.input e ON d.row_id = e.payment_id::text,
	   jsonb_to_record(d.inputs) AS f (card_count_1d float8,
		card_sum_7d float8, card_avg_30d float8, terminal_count_1d float8,
		terminal_sum_7d float8, terminal_avg_30d float8)
 WHERE f.card_count_1d = e.card_count_1d
   AND f.terminal_count_1d = e.terminal_count_1d
   AND f.card_sum_7d = e.card_sum_7d
   AND f.terminal_sum_7d = e.terminal_sum_7d
   AND abs(f.card_avg_30d / e.card_avg_30d - 1) < 1e-14
   AND abs(f.terminal_avg_30d / e.terminal_avg_30d - 1) < 1e-14;
\endif
\endif
