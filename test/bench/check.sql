-- Whether an arm did the work that it was timed for; nothing, or an error.
-- Variables: expected (a table, or none), decisions (a table, or none),
-- payments (their number), sampled (whether pgbench made them).

SELECT :'expected' <> '' AS has_expected, :'decisions' <> '' AS has_decisions
\gset

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
		'category', p.category, 'channel', p.channel, 'country', p.country,
		'created_at', p.created_at);
\endif

\if :has_expected
\if :sampled
SELECT bench.must('payments with their sample''s verdict', count(*), :payments)
  FROM public.payments p JOIN :expected e
 USING (amount, currency, country, card_country, category, channel,
		card_age_days)
 WHERE date_trunc('hour', p.created_at) = date_trunc('hour', e.created_at)
   AND p.outcome = e.verdict AND p.risk_score = e.score
   AND (SELECT array_agg(r ORDER BY r) FROM unnest(p.reasons) r)
	   IS NOT DISTINCT FROM
	   (SELECT array_agg(r ORDER BY r) FROM unnest(e.reasons) r);
\else
SELECT bench.must('payments with the expected verdict', count(*), :payments)
  FROM public.payments p JOIN :expected e USING (payment_id)
 WHERE p.outcome = e.verdict AND p.risk_score = e.score
   AND (SELECT array_agg(r ORDER BY r) FROM unnest(p.reasons) r)
	   IS NOT DISTINCT FROM
	   (SELECT array_agg(r ORDER BY r) FROM unnest(e.reasons) r);
\endif
\endif

\if :windows
SELECT bench.must('decisions with the expected windows', count(*), :payments)
  FROM :decisions d JOIN :expected e ON d.row_id = e.payment_id::text
 WHERE (d.inputs ->> 'count_1h')::double precision = e.count_1h
   AND (d.inputs ->> 'sum_24h')::double precision = e.sum_24h
   AND (d.inputs ->> 'since_last')::double precision
	   IS NOT DISTINCT FROM e.since_last;
\endif
